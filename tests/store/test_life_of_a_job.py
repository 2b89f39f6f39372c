"""The scripts, on a real Valkey: who may write, what may be repeated, where a job goes."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from services.contract.errors import FilesUnavailable, LossDiverged
from services.contract.events import NewEvent
from services.contract.ids import new_id
from services.contract.lines import CheckpointLine
from services.contract.progress import CheckpointMetrics
from services.contract.quota import Quota
from services.contract.timing import Timing
from services.contract.transitions import Action, Status
from services.settings import Settings
from services.store import keys
from services.store.events import Batch, Point
from services.store.jobs import Requested
from services.store.leases import Claim, Fenced, TenantWaits, WorkerProfile
from services.store.record import JobRecord, Latest
from services.store.store import Store, open_store
from tests.conftest import profile, raw, result, spec
from tests.reports import computed
from workers.settle import fail

pytestmark = pytest.mark.anyio

AFTER_THE_LEASE = Timing().lease + 1.0


async def created(store: Store, **changes: Any) -> str:
    id = new_id("ftjob")
    await store.jobs.create(id, "local", spec(**changes))
    return id


async def claimed(store: Store, **changes: Any) -> Claim:
    claim = await store.leases.claim(await created(store, **changes), profile())
    assert claim is not None
    return claim


async def record(store: Store, id: str) -> JobRecord:
    found = await store.jobs.get(id)
    assert found is not None
    return found


def said(message: str) -> NewEvent:
    return NewEvent(created_at=0, message=message)


def checkpoint(number: int, step: int, *, best: bool = False, content: bytes = b"head") -> tuple[CheckpointLine, bytes]:
    metrics = CheckpointMetrics(step=step, epoch=step)
    digest = hashlib.sha256(content).hexdigest()
    return CheckpointLine(number=number, path="x", sha256=digest, metrics=metrics, best=best), content


async def put(store: Store, claim: Claim, number: int, step: int, **more: Any) -> None:
    line, content = checkpoint(number, step, **more)
    await store.checkpoints.put(claim, line, content, 0)


# --- a straight life -----------------------------------------------------------------------------------------------


async def test_a_job_goes_from_queued_to_succeeded_and_its_ids_rise(store: Store) -> None:
    claim = await claimed(store)
    await store.events.emit(claim, Batch(1, [said("one"), said("two")], [Point("train_loss", 1, 0.5)], last_step=1))
    await store.leases.finish(claim, result(), "done", {})
    entries = await store.events.since(claim.job, "0-0", limit=100)
    assert [json.loads(entry.json)["message"] for entry in entries][2:] == ["one", "two", "done"]
    assert [entry.final for entry in entries] == [False] * 4 + [True]
    ids = [tuple(map(int, entry.id.split("-"))) for entry in entries]
    assert ids == sorted(set(ids))
    ended = await record(store, claim.job)
    assert (ended.status, ended.attempts[0].reason, ended.last_step) == (Status.SUCCEEDED, "succeeded", 1)
    assert await store.leases.expired(shift=AFTER_THE_LEASE) == []


async def test_the_head_of_the_line_is_by_priority_then_by_time(store: Store) -> None:
    first, second, urgent = await created(store), await created(store), await created(store, priority=5)
    await created(store, device="cuda")
    assert [await _claimed_id(store) for _ in range(4)] == [urgent, first, second, None]


async def _claimed_id(store: Store) -> str | None:
    claim = await store.leases.claim_next(profile())
    return claim.job if claim else None


async def test_a_job_has_one_owner(store: Store) -> None:
    id = await created(store)
    assert await store.leases.claim(id, profile("a")) is not None
    assert await store.leases.claim(id, profile("b")) is None


# --- fences --------------------------------------------------------------------------------------------------------

Write = Callable[[Store, Claim], Awaitable[object]]

WRITES: dict[str, Write] = {
    "renew": lambda store, claim: store.leases.renew(claim),
    "emit": lambda store, claim: store.events.emit(claim, Batch(1, [said("late")])),
    "checkpoint": lambda store, claim: put(store, claim, 7, 7),
    "finish": lambda store, claim: store.leases.finish(claim, result(), "late", {}),
    "fail": lambda store, claim: store.leases.fail(claim, LossDiverged("late")),
}


@pytest.mark.parametrize("name", WRITES)
async def test_an_attempt_cannot_write_after_its_lease_was_taken(store: Store, name: str) -> None:
    claim = await claimed(store)
    assert await store.leases.reap(claim.job, shift=AFTER_THE_LEASE) is Status.QUEUED
    with pytest.raises(Fenced):
        await WRITES[name](store, claim)
    assert await store.leases.claim(claim.job, profile("b")) is not None
    before = await record(store, claim.job)
    with pytest.raises(Fenced):
        await WRITES[name](store, claim)
    with pytest.raises(Fenced):
        await store.leases.release(claim, "late", "late", counts=True)
    assert await record(store, claim.job) == before


async def test_a_fence_rises_with_every_change_of_owner_even_over_a_clock_that_went_back(store: Store) -> None:
    claim = await claimed(store)
    ahead = claim.fence + 10_000_000  # as if Redis had lost its last second, or its clock
    await store.redis.hset(keys.job(claim.job), "fence", ahead)
    await store.leases.reap(claim.job, shift=AFTER_THE_LEASE)
    again = await store.leases.claim(claim.job, profile("b"))
    assert again is not None
    assert again.fence > ahead + 1


# --- repeats -------------------------------------------------------------------------------------------------------


async def test_a_job_is_created_once_however_often_it_is_asked(store: Store) -> None:
    id = new_id("ftjob")
    for _ in range(2):
        await store.jobs.create(id, "local", spec())
    assert await store.redis.zcard(keys.queued("any")) == 1
    assert await raw(store).xlen(keys.events(id)) == 1


async def test_a_claim_whose_reply_was_lost_is_the_same_claim(store: Store) -> None:
    id = await created(store)
    me = profile()
    first = await store.leases.claim(id, me, nonce="n")
    assert first is not None
    assert await store.leases.claim(id, me, nonce="n") == first
    assert (await record(store, id)).attempt == 1


async def test_a_batch_is_taken_once_and_one_too_far_is_an_error(store: Store) -> None:
    claim = await claimed(store)
    for _ in range(2):
        await store.events.emit(claim, Batch(1, [said("one")], [Point("train_loss", 1, 0.5)], last_step=1))
    assert await store.events.points(claim.job) == [Point("train_loss", 1, 0.5)]
    with pytest.raises(ResponseError, match="batch 3 after 1"):
        await store.events.emit(claim, Batch(3))


async def test_a_checkpoint_is_stored_once(store: Store) -> None:
    claim = await claimed(store)
    for _ in range(2):
        await put(store, claim, 0, 0)
    assert [known.number for known in await store.checkpoints.all(claim.job)] == [0]


@pytest.mark.parametrize("end", ["finish", "fail"])
async def test_an_end_may_be_said_again_and_stands_once(store: Store, end: str) -> None:
    claim = await claimed(store)
    for _ in range(2):
        await WRITES[end](store, claim)
    finals = [entry for entry in await store.events.since(claim.job, "0-0", limit=100) if entry.final]
    assert len(finals) == 1
    assert len((await record(store, claim.job)).attempts) == 1


async def test_a_release_may_be_said_again(store: Store) -> None:
    claim = await claimed(store)
    for _ in range(2):
        assert await store.leases.release(claim, "released", "drained", counts=False) is Status.QUEUED
    assert await store.redis.zcard(keys.queued("cpu")) == 1


async def test_only_a_release_may_follow_a_release(store: Store) -> None:
    claim = await claimed(store)
    await store.leases.release(claim, "released", "drained", counts=False)
    with pytest.raises(Fenced):
        await store.leases.finish(claim, result(), "late", {})


# --- the reaper's side ---------------------------------------------------------------------------------------------


async def test_a_living_owner_is_not_reaped(store: Store) -> None:
    claim = await claimed(store)
    assert await store.leases.expired() == []
    assert await store.leases.reap(claim.job) is None


async def test_a_lost_job_keeps_its_queue_time_and_its_place(store: Store) -> None:
    lost = await claimed(store)
    later = await created(store)
    await store.leases.reap(lost.job, shift=AFTER_THE_LEASE)
    assert [await _claimed_id(store) for _ in range(2)] == [lost.job, later]


@pytest.mark.parametrize(("wish", "after"), [(Action.CANCEL, Status.CANCELLED), (Action.PAUSE, Status.PAUSED)])
async def test_a_lost_job_goes_to_where_its_wish_leads(store: Store, wish: Action, after: Status) -> None:
    claim = await claimed(store)
    await store.jobs.request(claim.job, wish)
    assert await store.leases.reap(claim.job, shift=AFTER_THE_LEASE) is after
    assert (await store.events.last(claim.job)).final == (after is Status.CANCELLED)  # type: ignore[union-attr]


async def test_three_lost_attempts_without_a_checkpoint_fail_the_job(store: Store) -> None:
    id = await created(store)
    for attempt in range(3):
        assert await store.leases.claim(id, profile(f"w{attempt}")) is not None
        await store.leases.reap(id, shift=AFTER_THE_LEASE)
    failed = await record(store, id)
    assert (failed.status, failed.reason.code, len(failed.attempts)) == (Status.FAILED, "worker_lost", 3)


async def test_a_new_checkpoint_starts_the_count_anew_and_a_drain_never_counts(store: Store) -> None:
    id = await created(store)
    for attempt in range(8):
        claim = await store.leases.claim(id, profile())
        assert claim is not None, f"the job was given up after {attempt} attempts"
        if attempt % 2:
            await put(store, claim, claim.checkpoint + 1, attempt)
            await store.leases.release(claim, "worker_lost", "killed", counts=True)
        else:
            await store.leases.release(claim, "released", "drained", counts=False)
    assert (await record(store, id)).status is Status.QUEUED


async def test_a_job_is_given_only_to_a_worker_like_its_first(store: Store) -> None:
    claim = await claimed(store)
    await store.leases.release(claim, "released", "drained", counts=False)
    other = profile("b", "mps")
    assert await store.leases.claim(claim.job, other) is None
    assert await store.leases.claim_next(other) is None
    waiting = await record(store, claim.job)
    assert waiting.reason.code == "waiting_for_worker"
    assert "cpu" in waiting.reason.message
    assert await store.leases.claim(claim.job, profile("c")) is not None


# --- wishes --------------------------------------------------------------------------------------------------------


async def test_a_wish_reaches_the_owner_with_its_next_renewal(store: Store) -> None:
    claim = await claimed(store)
    assert (await store.leases.renew(claim)).status is Status.RUNNING
    assert await store.jobs.request(claim.job, Action.CANCEL) == Requested(True, Status.CANCELLING)
    assert (await store.leases.renew(claim)).status is Status.CANCELLING
    assert await store.leases.release(claim, "released", "stopped", counts=False) is Status.CANCELLED


async def test_a_finish_wins_over_a_cancel_that_came_too_late(store: Store) -> None:
    claim = await claimed(store)
    await store.jobs.request(claim.job, Action.CANCEL)
    await store.leases.finish(claim, result(), "done", {})
    assert (await record(store, claim.job)).status is Status.SUCCEEDED


async def test_a_paused_job_leaves_the_line_and_comes_back_to_its_place(store: Store) -> None:
    first, second = await created(store), await created(store)
    assert await store.jobs.request(first, Action.PAUSE) == Requested(True, Status.PAUSED)
    assert await store.jobs.request(first, Action.PAUSE) == Requested(False, Status.PAUSED)
    assert await store.jobs.request(first, Action.RESUME) == Requested(True, Status.QUEUED)
    assert [await _claimed_id(store) for _ in range(2)] == [first, second]


async def test_a_wish_on_a_job_that_is_gone_meets_nobody(store: Store) -> None:
    assert await store.jobs.request(new_id("ftjob"), Action.CANCEL) is None


async def test_what_nobody_counts_is_refused(store: Store) -> None:
    claim = await claimed(store)
    with pytest.raises(ResponseError, match="nobody counts sheep"):
        await store.events.emit(claim, Batch(1, counts={"sheep": 1}))  # type: ignore[dict-item]


# --- bounds --------------------------------------------------------------------------------------------------------


async def test_the_stream_is_capped_and_the_record_says_what_was_trimmed(store: Store) -> None:
    claim = await claimed(store)
    for batch in range(1, 12):
        await store.events.emit(claim, Batch(batch, [said(f"{batch}.{i}") for i in range(1000)]))
    assert await raw(store).xlen(keys.events(claim.job)) == 10_000
    first = (await store.events.since(claim.job, "0-0", limit=1))[0]
    trimmed = (await record(store, claim.job)).trimmed_to
    assert json.loads(first.json)["message"] == "2.0"  # of 2 and 11,000 entries, 1,002 went
    assert trimmed != "0-0"
    assert tuple(map(int, trimmed.split("-"))) < tuple(map(int, first.id.split("-")))


async def test_of_the_checkpoints_the_first_the_best_and_the_last_few_are_kept(store: Store) -> None:
    claim = await claimed(store, checkpoints={"keep": 2})
    for number in range(7):
        await put(store, claim, number, number, best=number in (1, 3), content=b"head %d" % number)
    assert [known.number for known in await store.checkpoints.all(claim.job)] == [0, 3, 5, 6]
    assert await store.checkpoints.get(claim.job, 4) is None
    assert not await raw(store).exists(keys.checkpoint(claim.job, 4))
    newest = await store.checkpoints.newest(claim.job)
    assert newest is not None
    assert newest[1] == b"head 6"


async def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(store: Store) -> None:
    claim = await claimed(store)
    for number in range(2):
        await put(store, claim, number, number, content=b"head %d" % number)
    await raw(store).set(keys.checkpoint(claim.job, 1), b"torn")
    newest = await store.checkpoints.newest(claim.job)
    assert newest is not None
    assert newest[1] == b"head 0"


async def test_a_large_checkpoint_lies_in_the_file_store(store: Store) -> None:
    claim = await claimed(store)
    large = bytes(1_000_001)
    await put(store, claim, 0, 0, content=large)
    assert not await raw(store).exists(keys.checkpoint(claim.job, 0))
    assert (await store.checkpoints.newest(claim.job))[1] == large  # type: ignore[index]


async def test_a_full_redis_refuses_new_jobs_and_checkpoints_and_nothing_else(store: Store) -> None:
    claim = await claimed(store)
    await raw(store).config_set("maxmemory", "1mb")
    try:
        with pytest.raises(OutOfMemoryError):
            await created(store)
        with pytest.raises(OutOfMemoryError):
            await put(store, claim, 0, 0)
        await store.leases.renew(claim)
        await store.events.emit(claim, Batch(1, [said("goes on")], [Point("train_loss", 1, 0.5)], last_step=1))
        await store.jobs.request(claim.job, Action.CANCEL)
        await store.leases.finish(claim, result(), "done", {})
    finally:
        await raw(store).config_set("maxmemory", "0")
    assert (await record(store, claim.job)).status is Status.SUCCEEDED


async def test_a_tenants_checkpoints_have_as_many_bytes_as_they_may_and_deleting_jobs_makes_room(store: Store) -> None:
    claims = []
    for _ in range(2):
        await store.jobs.create(id := new_id("ftjob"), "local", spec(), quota=Quota(checkpoint_bytes=65))
        claims.append(await store.leases.claim(id, profile()))
    first, second = (claim for claim in claims if claim is not None)
    for number in range(9):  # the first and the last five are kept
        await put(store, first, number, number, content=b"ten bytes!")
    with pytest.raises(TenantWaits):
        await put(store, second, 0, 0, content=b"ten bytes!")
    assert await store.checkpoints.all(second.job) == []
    assert not await store.jobs.forget(first.job, "local")  # a worker owns it
    await store.leases.finish(first, result(), "done", {})
    assert await store.jobs.forget(first.job, "local")
    assert await store.jobs.forget(first.job, "local")  # and is counted once
    await put(store, second, 0, 0, content=b"ten bytes!")
    await put(store, second, 1, 1, content=b"ten bytes!")
    assert len(await store.checkpoints.all(second.job)) == 2


async def test_a_forgotten_job_leaves_no_key(store: Store) -> None:
    claim = await claimed(store)
    await put(store, claim, 0, 0)
    await store.events.emit(claim, Batch(1, [said("x")], [Point("train_loss", 1, 0.5)], last_step=1))
    await store.leases.finish(claim, result(), "done", {})
    await store.forget(await record(store, claim.job))
    of_all = keys.TOTALS, keys.HELD, keys.feed("local")
    assert set(await raw(store).keys("*")) == {key.encode() for key in of_all}


async def test_a_validation_is_known_to_have_been_told(store: Store) -> None:
    claim = await claimed(store)
    points = [Point("train_loss", 5, 0.5), Point("val_loss", 5, 0.4), Point("val_accuracy", 5, 0.9)]
    await store.events.emit(claim, Batch(1, points=points, latest=Latest(last_val_step=5), last_step=5))
    await store.leases.release(claim, "released", "drained", counts=False)
    again = await store.leases.claim(claim.job, profile())
    assert again is not None
    assert (again.last_step, again.last_val_step) == (5, 5)


async def test_auto_is_resolved_once_and_another_worker_may_go_on_if_it_can(store: Store) -> None:
    await store.jobs.create(id := new_id("ftjob"), "local", spec(precision="auto"))
    native = WorkerProfile("a", "cpu", lambda _: "w", computed("fp32", "bf16"), "bf16")
    first = await store.leases.claim(id, native)
    assert first is not None
    assert first.precision == "bf16"
    await store.leases.release(first, "released", "drained", counts=False)
    assert await store.leases.claim(id, WorkerProfile("b", "cpu", lambda _: "w", computed("fp32"), "fp32")) is None
    slower = await store.leases.claim(id, WorkerProfile("c", "cpu", lambda _: "w", computed("fp32", "bf16"), "fp32"))
    assert slower is not None
    assert slower.precision == "bf16"


async def test_a_store_of_objects_that_is_away_costs_no_attempt(store: Store) -> None:
    claim = await claimed(store)
    for _ in range(4):
        await fail(store, claim, FilesUnavailable("The store of objects does not answer."), Timing().scaled(0.01))
        found = await record(store, claim.job)
        assert (found.status, found.reason.code) == (Status.QUEUED, "files_unavailable")
        again = await store.leases.claim(claim.job, profile())
        assert again is not None
        claim = again


async def test_a_turn_is_held_for_as_long_as_it_takes(settings: Settings) -> None:
    async with open_store(settings.model_copy(update={"time_scale": 0.01})) as store:  # it would end after 0.2 s
        async with store.turns.held("headway:turn"):
            await asyncio.sleep(0.5)
            assert not await store.turns.take("headway:turn", "another", seconds=1)
        assert await store.turns.take("headway:turn", "another", seconds=1)
