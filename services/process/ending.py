"""To end a task of asyncio for certain."""

import asyncio
from typing import Any


async def end(task: "asyncio.Future[Any]", *, again: float = 1.0) -> None:
    """Cancels `task`, and once more each `again` seconds until it has ended. Raises nothing of what it raised.

    Once is not enough where it talks to Redis: redis-py may take the cancellation for an error of the connection,
    and before Python 3.12 `asyncio.wait_for`, with which it sends, loses one that comes just as it is done.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=again)
    if not task.cancelled():
        task.exception()  # seen: asyncio has nothing to report
