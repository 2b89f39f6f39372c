"""A worker that works is heard of."""

import asyncio
import contextlib

import pytest

from services.contract.fleet import Worker
from services.settings import Settings
from services.store.broker import Consumption
from services.store.store import Store
from tests.reports import passed
from workers.duty import Duty
from workers.main import heartbeat
from workers.worker import LocalWorker

pytestmark = pytest.mark.anyio


class Hesitant(LocalWorker):
    """Its first report goes wrong; it notes when its third is asked for."""

    def __init__(self, settings: Settings) -> None:
        super().__init__([passed()], settings, Duty(lambda: None), Consumption(pause=1.0))
        self.reports, self.third = 0, asyncio.Event()

    def report(self) -> Worker:
        self.reports += 1
        if self.reports == 1:
            raise ValueError("as no part of it should")
        if self.reports == 3:
            self.third.set()
        return super().report()


async def test_a_heartbeat_that_goes_wrong_is_followed_by_the_next(quiet_store: Store, quiet: Settings) -> None:
    me = Hesitant(quiet)
    beating = asyncio.create_task(heartbeat(me, quiet.model_copy(update={"time_scale": 0.01}), quiet_store))
    await asyncio.wait({beating, asyncio.create_task(me.third.wait())}, timeout=10, return_when="FIRST_COMPLETED")
    assert [worker.id for worker in await quiet_store.workers.all()] == [me.profile.id]
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
