"""A worker that ends by itself once nothing comes, as on Kubernetes, where somebody else starts it."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest

from services.contract.ids import new_id
from services.settings import Settings
from services.store.broker import Consumption
from services.store.store import Store
from tests.conftest import spec
from tests.reports import passed
from workers.duty import Duty
from workers.helping import Helping
from workers.main import spare_trainer
from workers.taking import Taking
from workers.worker import LocalWorker
from workers.zygote import Starter

pytestmark = pytest.mark.anyio

IDLE = 1.0  # s


def taking(store: Store, config: Settings, end_process: Callable[[], None]) -> Taking:
    worker, start = LocalWorker([passed()], config, Duty(end_process), Consumption(pause=1.0)), Starter()
    spare = spare_trainer(passed(), config, start)
    return Taking(worker, spare, Helping(worker, config, store, start), config, store)


async def seconds_until_it_ends(store: Store, config: Settings, *, within: float) -> float:
    over = asyncio.Event()
    looking = asyncio.create_task(taking(store, config, over.set).look_again_and_again())
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), within)
    looking.cancel()
    return time.monotonic() - began if over.is_set() else float("inf")


@pytest.fixture
def config(quiet: Settings) -> Settings:
    return quiet.model_copy(update={"time_scale": 0.05, "worker_idle": IDLE})


async def test_it_ends_once_nothing_has_come_for_so_long(quiet_store: Store, config: Settings) -> None:
    assert IDLE <= await seconds_until_it_ends(quiet_store, config, within=10 * IDLE) < 5 * IDLE


async def test_it_stays_where_no_such_time_is_set(quiet_store: Store, config: Settings) -> None:
    unset = config.model_copy(update={"worker_idle": None})
    assert await seconds_until_it_ends(quiet_store, unset, within=2 * IDLE) == float("inf")


async def test_a_job_begins_the_time_anew(quiet_store: Store, config: Settings) -> None:
    """One that fails at once, as its file is not there."""

    async def come_late() -> None:
        await asyncio.sleep(IDLE * 0.7)
        await quiet_store.jobs.create(new_id("ftjob"), "local", spec())

    coming = asyncio.create_task(come_late())
    assert await seconds_until_it_ends(quiet_store, config, within=10 * IDLE) > 1.6 * IDLE
    await coming
    assert await quiet_store.jobs.waiting() == dict.fromkeys(("any", "cuda", "mps", "cpu"), 0)
