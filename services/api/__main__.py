"""`python -m services.api`: the API under uvicorn. A SIGTERM closes the live streams first; their clients come back."""

import asyncio
import contextlib
import resource
import socket
import sys
from math import ceil
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.api import auth
from services.api.main import create_app
from services.process import tether
from services.settings import Settings, settings
from services.store.store import refusal_to_start

MANY = 10_240  # open files; macOS allows no more


def protocol(vanished: float) -> type[H11Protocol]:
    """HTTP that cuts off a client which acknowledges nothing, or takes nothing, for `vanished` seconds: its stream's
    heartbeats find it out. The kernel's own patience is some 15 minutes. macOS has no such option."""

    class VigilantProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            connection = transport.get_extra_info("socket")
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(vanished * 1000))
            super().connection_made(transport)

    return VigilantProtocol


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
    app = create_app(config)
    options = uvicorn.Config(
        app,
        http=protocol(config.timing.vanished),
        host=config.host.strip("[]"),
        port=config.port,
        log_level=config.log_level.lower(),
        access_log=config.log_level == "DEBUG",
        timeout_graceful_shutdown=ceil(config.timing.api_grace),
        server_header=False,
    )
    server = Server(options, app)
    _allow_many_connections()
    server.run()
    return 0 if server.started else 1


def _allow_many_connections() -> None:
    """A thousand streams are more than the 1,024 files that Debian lets a process open unless it asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _bad_keys(config: Settings) -> str | None:
    """A keys file that cannot be read is found at the start, not at the first request."""
    if config.api_keys_file is None:
        return None
    try:
        auth.read_keys(config.api_keys_file)
    except auth.KeysFileError as error:
        return str(error)
    return None


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main())
