"""`python -m services.api`: the API under uvicorn. A SIGTERM closes the live streams first; their clients come back."""

import asyncio
import logging
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from services import tether
from services.api import auth
from services.api.main import create_app
from services.settings import Settings, settings
from services.store.connection import AWAY, connected, refusal_to_use

log = logging.getLogger("headway.api")

GRACE = 5  # seconds that open requests have after a SIGTERM


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
    refusal = config.refusal_to_serve() or _bad_keys(config) or asyncio.run(_unsafe_redis(config))
    if refusal is not None:
        print(refusal, file=sys.stderr)
        return 1
    app = create_app(config)
    options = uvicorn.Config(
        app,
        host=config.host.strip("[]"),
        port=config.port,
        log_level=config.log_level.lower(),
        access_log=config.log_level == "DEBUG",
        timeout_graceful_shutdown=GRACE,
        server_header=False,
    )
    server = Server(options, app)
    server.run()
    return 0 if server.started else 1


def _bad_keys(config: Settings) -> str | None:
    """A keys file that cannot be read is found at the start, not at the first request."""
    if config.api_keys_file is None:
        return None
    try:
        auth.read_keys(config.api_keys_file)
    except auth.KeysFileError as error:
        return str(error)
    return None


async def _unsafe_redis(config: Settings) -> str | None:
    """A Redis that would lose jobs is refused at the start; one that is away may come back."""
    async with connected(config.store_url) as redis:
        try:
            return await refusal_to_use(redis, trusted=config.redis_durable == "trusted")
        except AWAY as error:
            log.warning("Redis is away (%s); jobs are refused with 503 until it is back", type(error).__name__)
            return None


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main())
