"""What the reaper and the autoscaler share: a process that works on the store until it is told to stop."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

from services.process import tether
from services.process.ending import end
from services.settings import Settings, settings
from services.store.store import Store, open_store, refusal_to_start

log = logging.getLogger("headway")

Work = Callable[[Store, Settings], Awaitable[None]]


def main(work: Work) -> NoReturn:
    """The process itself."""
    tether.hold_if_asked()
    sys.exit(asyncio.run(_run(work)))


async def _run(work: Work) -> int:
    config = settings()
    config.start_logging()
    if refusal := await refusal_to_start(config):
        print(refusal, file=sys.stderr)
        return 1
    async with open_store(config) as store:
        over = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, over.set)
        working = asyncio.ensure_future(work(store, config))
        working.add_done_callback(lambda _: over.set())
        await over.wait()
        await end(working)
        if not working.cancelled():
            working.result()
    log.info("stopped")
    return 0
