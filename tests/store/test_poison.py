"""Records that cannot be read, by another version or by a slip: set aside, seen, and nobody else waits for them."""

import json
import logging
from typing import Any

import pytest

from services.contract.ids import new_id
from services.contract.transitions import Action, Status
from services.reaper import Reaper
from services.settings import Settings
from services.store import keys
from services.store.migration import VERSION
from services.store.record import JobRecord
from services.store.store import Store
from tests.conftest import profile, raw, result, spec
from tests.store.test_reaper import trusting

pytestmark = pytest.mark.anyio

SPOILS: dict[str, dict[str, str]] = {
    "a field of another version": {"spec": json.dumps(json.loads(spec().model_dump_json()) | {"new": 1})},
    "a value of another version": {"spec": json.dumps(json.loads(spec().model_dump_json()) | {"model": "vit"})},
    "a later version": {"v": str(VERSION + 1)},
    "no JSON": {"spec": "{"},
    "an empty spec": {"spec": ""},
    "attempts of another form": {"attempts": '[{"n": 1}]'},
    "a progress of another form": {"progress": "7"},
    "an unknown status": {"status": "dreaming"},
    "no number": {"created_at": "yesterday"},
    "no UTF-8": {"kind": "\udcff"},
}


async def created(store: Store, **changes: Any) -> str:
    id = new_id("ftjob")
    await store.jobs.create(id, "local", spec(**changes))
    return id


async def spoil(store: Store, id: str, fields: dict[str, str]) -> None:
    mapping = {name: value.encode(errors="surrogateescape") for name, value in fields.items()}
    await raw(store).hset(keys.job(id), mapping=mapping)


@pytest.mark.parametrize("spoiled", SPOILS)
async def test_a_record_that_cannot_be_read_is_set_aside_and_the_line_the_list_and_the_sweep_go_on(
    store: Store, settings: Settings, spoiled: str
) -> None:
    bad, good = await created(store, priority=9), await created(store)
    await spoil(store, bad, SPOILS[spoiled])
    claim = await store.leases.claim_next(profile())
    assert claim is not None
    assert claim.job == good
    assert bad in await store.jobs.aside()
    assert await store.jobs.waiting() == {"any": 0, "cuda": 0, "mps": 0, "cpu": 0}
    listed, _ = await store.jobs.page("local", after=None, limit=10)
    assert good in [record.id for record in listed]
    await raw(store).zadd(keys.ENDED, {bad: 1, good: 2})  # as if both had ended long ago
    await store.leases.finish(claim, result(), "done", {})
    await raw(store).zadd(keys.ENDED, {good: 2})
    sweeps = trusting(Reaper(store, settings.model_copy(update={"retention_days": 30.0})))
    for _ in range(2):
        await sweeps.one_pass()
    assert await store.jobs.get(good) is None


@pytest.mark.parametrize("spoiled", [{"queued_at": "never"}, {"attempts": "7"}, {"checkpoint": "x"}, None])
async def test_a_record_over_which_a_script_stumbles_keeps_nobody_waiting(
    store: Store, spoiled: dict[str, str] | None
) -> None:
    bad, good = await created(store, priority=9), await created(store)
    if spoiled is None:
        await store.redis.delete(keys.job(bad))
        await raw(store).lpush(keys.job(bad), "no hash")
    else:
        await spoil(store, bad, spoiled)
    claims = [await store.leases.claim_next(profile(f"w{number}")) for number in range(2)]
    assert good in [claim.job for claim in claims if claim]
    assert await store.jobs.waiting() == {"any": 0, "cuda": 0, "mps": 0, "cpu": 0}


async def test_a_job_that_was_set_aside_can_be_seen_and_cancelled(store: Store) -> None:
    bad = await created(store)
    await spoil(store, bad, SPOILS["a field of another version"])
    assert await store.leases.claim_next(profile()) is None
    record = await store.jobs.get(bad)
    assert record is not None
    assert record.spec == spec()
    assert "written by another version" in (record.problem or "")
    requested = await store.jobs.request(bad, Action.CANCEL)
    assert requested is not None
    assert requested.status is Status.CANCELLED


async def test_what_a_later_version_can_read_goes_back_into_the_line(store: Store, settings: Settings) -> None:
    bad = await created(store)
    await spoil(store, bad, {"v": str(VERSION + 1)})
    assert await store.leases.claim_next(profile()) is None
    await Reaper(store, settings).one_pass()
    assert await store.jobs.waiting() == {"any": 0, "cuda": 0, "mps": 0, "cpu": 0}
    await spoil(store, bad, {"v": str(VERSION)})  # as that version would see it
    await Reaper(store, settings).one_pass()
    assert await store.jobs.aside() == {}
    claim = await store.leases.claim_next(profile())
    assert claim is not None
    assert claim.job == bad


async def test_a_job_that_is_deleted_is_aside_no_more(store: Store, settings: Settings) -> None:
    bad = await created(store)
    await spoil(store, bad, {"v": str(VERSION + 1)})
    await store.leases.claim_next(profile())
    await store.jobs.forget(bad, "local")
    assert await store.jobs.aside() == {}


async def test_a_record_of_the_first_version_is_read_as_of_this_one(store: Store) -> None:
    id = await created(store)
    known = await raw(store).hgetall(keys.job(id))
    fields = {name.decode(): value.decode() for name, value in known.items()}
    old_spec = json.loads(fields["spec"]) | {"labels": ["circle", "square"]}
    old_result = json.loads(result().model_dump_json()) | {"exports": {"pt": "local/models/x/7/model.pt"}}
    del old_result["place"]
    old_result["receipt"]["labels"] = ["circle", "square"]
    old = fields | {"v": "1", "spec": json.dumps(old_spec), "result": json.dumps(old_result)}
    record = JobRecord.of_fields(old)
    assert record.problem is None
    assert record.spec == spec()
    assert record.result is not None
    assert record.result.place == "local/models/x/7"


async def test_what_else_in_redis_cannot_be_read_is_passed_over_and_said_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    id = await created(store)
    redis = raw(store)
    await redis.zadd(keys.checkpoints(id), {"{": 1})
    await redis.xadd(keys.events(id), {"event": "{", "final": "0"})
    await redis.hset(keys.worker("odd"), "report", "{}")
    await redis.zadd(keys.WORKERS, {"odd": 9e9})
    await redis.set(keys.SCALING, "[]")
    await redis.lpush(keys.DECISIONS, "nothing")
    await redis.set(keys.series(id), b"\0" * 13)  # a point, and a torn one
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert await store.checkpoints.all(id) == []
            events, _ = await store.events.newest(id, after=None, limit=10)
            assert [event.message for event in events] == ["Job accepted; waiting for a worker."]
            assert await store.workers.all() == []
            assert (await store.autoscaling.read()).decisions == []
            assert len(await store.events.points(id)) == 1
    said = [record.message for record in caplog.records]
    assert len(said) == len(set(said))
