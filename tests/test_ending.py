"""A task that is told to end ends, whatever it does with the first cancellation."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from redis.exceptions import ConnectionError

from services.process.ending import end

pytestmark = pytest.mark.anyio


async def forever() -> None:
    await asyncio.Event().wait()


async def takes_it_for_an_error() -> None:
    """As redis-py may: who goes on after its errors does not hear of the cancellation."""
    try:
        try:
            await forever()
        except asyncio.CancelledError:
            raise ConnectionError("lost") from None
    except ConnectionError:
        await forever()


async def fails() -> None:
    raise OSError("its own")


@pytest.mark.parametrize("work", [forever, takes_it_for_an_error, fails])
async def test_it_ends_and_nothing_of_it_is_raised(work: Callable[[], Coroutine[None, None, None]]) -> None:
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.wait_for(end(task, again=0.01), timeout=10)
    assert task.done()


async def test_a_cancellation_that_comes_as_its_wait_ends_is_not_lost() -> None:
    async def sends(done: "asyncio.Future[None]") -> None:
        await asyncio.wait_for(done, 60)
        await forever()

    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(sends(done))
    await asyncio.sleep(0)
    done.set_result(None)
    await asyncio.wait_for(end(task, again=0.01), timeout=10)
    assert task.cancelled()
