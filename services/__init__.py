"""The services: API, store, reaper and the `headway` command. Nothing below here ever imports torch."""

__version__ = "0.1.0"
