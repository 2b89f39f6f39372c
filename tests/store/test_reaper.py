"""The reaper: lost jobs return, lost hints are said again, what had its time is swept; any number of it may run."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from services.contract.clock import Steady
from services.contract.errors import RateLimited
from services.contract.ids import new_id
from services.contract.timing import Timing
from services.contract.transitions import Action, Status
from services.reaper import Reaper
from services.settings import Settings
from services.store import keys
from services.store.store import Store
from services.store.workers import Drain
from tests.conftest import profile, raw, spec
from tests.reports import worker

pytestmark = pytest.mark.anyio

LEASE = Timing().lease


def lies(settings: Settings, place: str) -> Path:
    """Where the bytes of a place lie."""
    return settings.files_dir / place


async def created(store: Store) -> str:
    id = new_id("ftjob")
    await store.jobs.create(id, "local", spec())
    return id


async def status(store: Store, id: str) -> Status:
    record = await store.jobs.get(id)
    assert record is not None
    return record.status


async def test_a_lost_job_returns_once_however_many_reapers_run(store: Store, settings: Settings) -> None:
    id = await created(store)
    await store.leases.claim(id, profile())
    reapers = [Reaper(store, settings) for _ in range(5)]
    await asyncio.gather(*(reaper.one_pass(shift=LEASE + 1) for reaper in reapers))
    assert await status(store, id) is Status.QUEUED
    record = await store.jobs.get(id)
    assert record is not None
    assert [attempt.reason for attempt in record.attempts] == ["worker_lost"]


async def test_a_hint_that_is_missing_on_two_passes_is_published_again_and_no_more(
    store: Store, settings: Settings
) -> None:
    for _ in range(3):
        await created(store)
    reaper = Reaper(store, settings)
    await reaper.one_pass()
    assert await store.redis.llen(keys.train_queue("any")) == 0
    for _ in range(3):
        await reaper.one_pass()
    assert await store.redis.llen(keys.train_queue("any")) == 3


async def test_a_lost_job_is_said_at_once_and_one_that_ends_so_leaves_no_half_made_model(
    store: Store, settings: Settings
) -> None:
    lost, cancelled = await created(store), await created(store)
    for id in (lost, cancelled):
        await store.leases.claim(id, profile())
        store.blobs.put(f"local/models/{id}/1/model.pt", b"half")
    await store.jobs.request(cancelled, Action.CANCEL)
    await Reaper(store, settings).one_pass(shift=LEASE + 1)
    assert await store.redis.llen(keys.train_queue("cpu")) == 1
    assert await status(store, cancelled) is Status.CANCELLED
    assert not lies(settings, f"local/models/{cancelled}").exists()
    assert lies(settings, f"local/models/{lost}").exists()


def trusting(reaper: Reaper) -> Reaper:
    """One whose clock has run steadily."""
    reaper.steady, reaper.own_steady = Steady(Timing(clock_steady=0.0)), Steady(Timing(clock_steady=0.0))
    return reaper


def test_a_clock_is_steady_once_it_has_run_beside_the_monotonic_one_for_an_hour() -> None:
    steady, month = Steady(Timing()), 30 * 86400
    assert not steady.sees(1000.0, 0.0)
    assert not any(steady.sees(1000.0 + t * 1.001, t) for t in range(5, 3600, 5))  # it drifts
    assert steady.sees(4600.0, 3600.0)
    assert not steady.sees(4605.0 + month, 3605.0)
    assert not any(steady.sees(1000.0 + month + t, t) for t in range(3610, 7200, 5))
    assert not steady.sees(8200.0, 7205.0)  # and back
    assert steady.sees(8200.0 + 3600, 7205.0 + 3600)


async def test_an_ended_job_goes_with_its_model_after_its_time(store: Store, settings: Settings) -> None:
    old, kept = await created(store), await created(store)
    for id in (old, kept):
        await store.jobs.request(id, Action.CANCEL)
        store.blobs.put(f"local/models/{id}/1/model.pt", b"model")
    await raw(store).zadd(keys.ENDED, {old: time.time() - 30 * 86400 - 1})
    keeps_all = trusting(Reaper(store, settings))
    sweeps = trusting(Reaper(store, settings.model_copy(update={"retention_days": 30.0})))
    for _ in range(2):
        await keeps_all.one_pass()
    await sweeps.one_pass()  # which only says what is due
    assert await store.jobs.get(old) is not None
    await sweeps.one_pass()
    assert await store.jobs.get(old) is None
    assert not lies(settings, f"local/models/{old}").exists()
    assert await status(store, kept) is Status.CANCELLED
    assert lies(settings, f"local/models/{kept}/1/model.pt").exists()


async def test_a_clock_that_went_back_keeps_no_lost_job_and_no_dead_worker_for_hours(
    store: Store, settings: Settings
) -> None:
    id = await created(store)
    await store.leases.claim(id, profile())
    await store.workers.report(worker("dead"))
    hours_ahead = time.time() + 7200
    await raw(store).zadd(keys.RUNNING, {id: hours_ahead * 1000})
    await raw(store).zadd(keys.WORKERS, {"dead": hours_ahead})
    reaper = Reaper(store, settings)
    await reaper.one_pass()
    assert await status(store, id) is Status.RUNNING  # its owner has the time to renew
    assert await raw(store).zscore(keys.WORKERS, "dead") <= time.time() + 1
    await reaper.one_pass(shift=LEASE + 1)
    assert await status(store, id) is Status.QUEUED


async def test_a_clock_that_went_back_holds_no_turn_and_no_rate_for_hours(store: Store) -> None:
    assert await store.turns.take(keys.REAPER, "dead", seconds=7200)
    assert not await store.turns.take(keys.REAPER, "next", seconds=0.1)
    await asyncio.sleep(0.15)
    assert await store.turns.take(keys.REAPER, "next", seconds=0.1)
    await store.rates.spend("ann", "uploads", 1)
    await raw(store).pexpire(keys.rate("ann", "uploads"), 7_200_000)
    with pytest.raises(RateLimited) as refused:
        await store.rates.spend("ann", "uploads", 1)
    assert refused.value.retry_after <= 60
    assert await raw(store).pttl(keys.rate("ann", "uploads")) <= 60_000


async def test_what_a_broken_upload_left_is_swept_after_a_day(store: Store, settings: Settings) -> None:
    for name in ("old", "new"):
        store.blobs.put(f"local/incoming/{name}", b"half")
    os.utime(lies(settings, "local/incoming/old"), (0, 0))
    await Reaper(store, settings).one_pass()
    assert len(list(lies(settings, "local/incoming").iterdir())) == 2  # its clock may yet be wrong
    await trusting(Reaper(store, settings)).one_pass()
    assert [path.name for path in lies(settings, "local/incoming").iterdir()] == ["new"]


async def test_a_full_redis_stops_neither_the_reaper_nor_a_heartbeat(store: Store, settings: Settings) -> None:
    id = await created(store)
    await store.leases.claim(id, profile())
    reaper = Reaper(store, settings)
    await raw(store).config_set("maxmemory", "1mb")
    try:
        assert await reaper._is_my_turn()
        await reaper.one_pass(shift=LEASE + 1)
        assert await store.workers.report(worker("w")) is Drain.NO
        assert await store.workers.ask_to_drain("w")
        assert await store.workers.report(worker("w")) is Drain.NOW
    finally:
        await raw(store).config_set("maxmemory", "0")
    assert await status(store, id) is Status.QUEUED
    assert not await store.workers.ask_to_drain("nobody")


async def test_a_wish_to_end_at_once_outlives_one_to_end_after_the_job(store: Store) -> None:
    await store.workers.report(worker("w"))
    for asked, wished in [(Drain.AFTER_JOB,) * 2, (Drain.NOW,) * 2, (Drain.AFTER_JOB, Drain.NOW)]:
        assert await store.workers.ask_to_drain("w", asked)
        assert await store.workers.report(worker("w")) is wished
