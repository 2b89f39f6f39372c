"""What an ended job left moves out of Redis, and everybody reads it as before."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.contract.transitions import Action
from services.reaper import Reaper
from services.settings import Settings
from services.store import keys, places
from services.store.events import PIECE, POINT, Batch, Point
from services.store.record import JobRecord
from services.store.store import Store
from tests.conftest import raw, result
from tests.store.test_life_of_a_job import claimed, created, put, record, said
from tests.store.test_reaper import lies, trusting

pytestmark = pytest.mark.anyio

EVENTS = 130  # more than two pages


@pytest.fixture
async def ended(store: Store) -> AsyncIterator[JobRecord]:
    """A job that left events, more points than are read at once, and checkpoints."""
    claim = await claimed(store)
    await store.events.emit(claim, Batch(1, [said(f"event {number}") for number in range(EVENTS)]))
    points = [Point("train_loss", step, 1 / step) for step in range(1, PIECE // POINT.size + 100)]
    await store.events.emit(claim, Batch(2, points=points, last_step=points[-1].step))
    for number in range(3):
        await put(store, claim, number, number + 1, best=number == 1, content=bytes([number]) * 100)
    await store.leases.finish(claim, result(), "done", {})
    yield await record(store, claim.job)


async def all_that_is_read(store: Store, job: str) -> list[Any]:
    newest, after, more = [], None, True
    while more:
        page, more = await store.events.newest(job, after=after, limit=50)
        newest.append(page)
        after = page[-1].id
    middle = newest[1][0].id
    checkpoints = [(known.number, known.sha256, known.best) for known in await store.checkpoints.all(job)]
    return [
        newest,
        await store.events.since(job, "0-0", limit=1000),
        await store.events.since(job, middle, limit=7),
        await store.events.last(job),
        await store.events.points(job),
        checkpoints,
        [found[1] for number in range(3) if (found := await store.checkpoints.get(job, number))],
    ]


async def test_what_moved_is_read_as_it_was_and_redis_keeps_the_record_alone(store: Store, ended: JobRecord) -> None:
    before = await all_that_is_read(store, ended.id)
    for _ in range(2):  # it may be repeated
        await store.history.put_away(ended)
        assert await all_that_is_read(store, ended.id) == before
    left = {key.decode() for key in await raw(store).keys(f"{keys.job(ended.id)}*")}
    assert left == {keys.job(ended.id), keys.checkpoints(ended.id)}
    assert await store.history.due(int(time.time()) + 10) == []


async def test_a_job_that_was_put_away_goes_whole(store: Store, settings: Settings, ended: JobRecord) -> None:
    await store.history.put_away(ended)
    folders = [lies(settings, of(ended.tenant, ended.id)) for of in (places.checkpoints, places.history)]
    assert all(folder.exists() for folder in folders)
    await store.forget(await record(store, ended.id))
    assert not any(folder.exists() for folder in folders)
    assert not await raw(store).keys(f"{keys.job(ended.id)}*")
    assert await raw(store).zcard(keys.PUT_AWAY) == 0
    assert await raw(store).get(keys.checkpoints_stored(ended.tenant)) is None


async def test_what_was_deleted_while_it_was_copied_leaves_nothing(
    store: Store, settings: Settings, ended: JobRecord
) -> None:
    await store.forget(ended)
    await store.history.put_away(ended)
    assert not lies(settings, places.history(ended.tenant, ended.id)).exists()
    assert await raw(store).zcard(keys.PUT_AWAY) == 0


async def test_a_job_that_has_not_ended_keeps_all(store: Store) -> None:
    claim = await claimed(store)
    running = await record(store, claim.job)
    await store.history.put_away(running)
    assert await raw(store).exists(keys.events(claim.job))
    assert not (await record(store, claim.job)).is_put_away


async def test_the_reaper_moves_it_after_an_hour_and_retention_still_counts_from_its_end(
    store: Store, settings: Settings, ended: JobRecord
) -> None:
    recent = await created(store)
    await store.jobs.request(recent, Action.CANCEL)
    hour_ago = time.time() - settings.timing.history_stays - 2
    await raw(store).zadd(keys.ENDED, {ended.id: hour_ago})
    await Reaper(store, settings).one_pass()
    assert not (await record(store, ended.id)).is_put_away  # by a clock that nobody knows yet
    await trusting(Reaper(store, settings)).one_pass()
    assert (await record(store, ended.id)).is_put_away
    assert not (await record(store, recent)).is_put_away
    sweeps = trusting(Reaper(store, settings.model_copy(update={"retention_days": 3600 / 86400})))
    for _ in range(2):
        await sweeps.one_pass()
    assert await store.jobs.get(ended.id) is None
    assert await store.jobs.get(recent) is not None


async def test_a_full_disk_costs_nothing_but_the_move(store: Store, settings: Settings, ended: JobRecord) -> None:
    before = await all_that_is_read(store, ended.id)
    lies(settings, f"{ended.tenant}/history").parent.mkdir(parents=True, exist_ok=True)
    lies(settings, f"{ended.tenant}/history").write_bytes(b"in the way")
    await raw(store).zadd(keys.ENDED, {ended.id: 1})
    await trusting(Reaper(store, settings)).one_pass()
    assert await all_that_is_read(store, ended.id) == before
    assert not (await record(store, ended.id)).is_put_away
