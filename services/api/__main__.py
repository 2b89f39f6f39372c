"""`python -m services.api`: the API under uvicorn. A SIGTERM closes the live streams first; their clients come back."""

import asyncio
import contextlib
import resource
import sys
from math import ceil
from types import FrameType

import uvicorn
from fastapi import FastAPI

from services import tracing
from services.api.connections import protocol
from services.api.main import create_app
from services.keysfile import KeysFileError, read_keys
from services.process import tether
from services.settings import Settings, settings
from services.store.store import refusal_to_start

MANY = 10_240  # open files; macOS allows no more
BACKLOG = 256  # connections that asyncio takes at once: few enough that `connections` can cut in between


class Server(uvicorn.Server):
    """Tells the app that it closes as soon as the signal comes: uvicorn would wait for the streams to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.closing.set()
        super().handle_exit(sig, frame)


def main(config: Settings | None = None) -> int:
    config = config or settings()
    refusal = config.refusal_to_serve() or _bad_keys(config) or asyncio.run(refusal_to_start(config))
    if refusal is not None:
        print(refusal, file=sys.stderr)
        return 1
    config.start_logging()
    tracing.start("headway-api")
    app = create_app(config)
    files = _allow_many_connections()
    options = uvicorn.Config(
        app,
        http=protocol(config.timing, most_waiting=files // 4),
        host=config.host.strip("[]"),
        port=config.port,
        backlog=BACKLOG,
        log_level=config.log_level.lower(),
        access_log=config.log_level == "DEBUG",
        timeout_keep_alive=ceil(config.keep_alive),
        timeout_graceful_shutdown=ceil(config.timing.api_grace),
        server_header=False,
    )
    server = Server(options, app)
    server.run()
    return 0 if server.started else 1


def _allow_many_connections() -> int:
    """How many files this process may open: a thousand streams are more than the 1,024 that Debian lets it unless it
    asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(MANY, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _bad_keys(config: Settings) -> str | None:
    """A keys file that cannot be read is found at the start, not at the first request."""
    if config.api_keys_file is None:
        return None
    try:
        read_keys(config.api_keys_file)
    except KeysFileError as error:
        return str(error)
    return None


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main())
