"""A worker that works is heard of."""

import asyncio
import contextlib
from typing import Any

import pytest

from services.contract.job import Worker
from services.settings import Settings
from services.store.store import Store
from tests.trainers import PREPARED
from workers import main
from workers.main import Me
from workers.spare import Spare

pytestmark = pytest.mark.anyio


class Hesitant(Me):
    """Its first report goes wrong; it notes when its third is asked for."""

    reports = 0
    third = asyncio.Event()

    def report(self) -> Worker:
        self.reports += 1
        if self.reports == 1:
            raise ValueError("as no part of it should")
        if self.reports == 3:
            self.third.set()
        return super().report()


async def test_a_heartbeat_that_goes_wrong_is_followed_by_the_next(
    quiet_store: Store, quiet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "HEARTBEAT", 0.01)
    passed: list[dict[str, Any]] = [{"ok": True, "checks": [], "precisions": {"fp32": 1.0}, "auto": "fp32"}]
    me = Hesitant(device="cpu", preflight=passed, spare=Spare(PREPARED, memory=0))
    beating = asyncio.create_task(main._heartbeat(me, quiet, quiet_store))
    await asyncio.wait({beating, asyncio.create_task(me.third.wait())}, timeout=10, return_when="FIRST_COMPLETED")
    assert [worker.id for worker in await quiet_store.workers.all()] == [me.id]
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
