"""What was deleted is forgotten here too: features of pictures that no file has any more leave this worker's cache."""

import asyncio
import logging
import subprocess
from contextlib import suppress
from typing import NoReturn

from redis.exceptions import RedisError

from services.environment import of_module
from services.settings import Settings
from services.store.files import Forgotten
from services.store.store import Store

log = logging.getLogger("headway.worker")

MARK = ".forgotten"  # in the cache's folder: up to when all was forgotten there, by Redis' clock


async def forget_again_and_again(store: Store, config: Settings) -> NoReturn:
    while True:
        try:
            await forget_what_is_due(store, config)
        except RedisError:
            pass  # then later
        except Exception:
            log.exception("what was deleted could not be forgotten here")
        await asyncio.sleep(config.timing.forget_every)


async def forget_what_is_due(store: Store, config: Settings) -> None:
    """Raises OSError, RedisError."""
    mark = config.features_dir / MARK
    since = float(mark.read_text()) if mark.exists() else 0.0
    for forgotten in await store.files.forgotten(since):
        with suppress(FileNotFoundError):  # swept: its time is over
            hashes = await asyncio.to_thread(store.blobs.get, forgotten.place)
            await asyncio.to_thread(_forget, forgotten, hashes, config)
        config.features_dir.mkdir(parents=True, exist_ok=True)
        mark.write_text(repr(forgotten.at))


def _forget(forgotten: Forgotten, hashes: bytes, config: Settings) -> None:
    folder = config.features_dir.absolute() / forgotten.tenant
    command = of_module("workers.vision.forget", str(folder))
    done = subprocess.run(command, input=hashes, capture_output=True, check=True)
    log.info("%s: %s segments of forgotten pictures are gone", forgotten.tenant, done.stdout.decode().strip())
