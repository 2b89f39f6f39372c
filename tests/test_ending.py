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


async def test_all_are_told_before_the_first_wait() -> None:
    tasks = [asyncio.create_task(forever()) for _ in range(2)]
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(*tasks))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait(tasks, timeout=10)
    assert all(task.cancelled() for task in tasks)
