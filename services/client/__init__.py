"""The `headway` command: a client of the public API, and the way to run everything on one machine."""
