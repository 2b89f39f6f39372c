"""To end tasks of asyncio for certain."""

import asyncio
from typing import Any


async def end(*tasks: "asyncio.Future[Any]", again: float = 1.0) -> None:
    """Cancels `tasks`, and once more each `again` seconds until they have ended. Raises nothing of what they raised.

    All are told before the first wait: whoever cancels the caller may do so again there.

    Once is not enough where it talks to Redis: redis-py may take the cancellation for an error of the connection,
    and before Python 3.12 `asyncio.wait_for`, with which it sends, loses one that comes just as it is done.
    """
    while going_on := [task for task in tasks if not task.done()]:
        for task in going_on:
            task.cancel()
        await asyncio.wait(going_on, timeout=again)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: asyncio has nothing to report
