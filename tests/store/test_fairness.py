"""Turns are taken between tenants first; within each, by priority, then by time."""

from typing import Any

import pytest

from services.contract.ids import new_id
from services.contract.quota import Quota
from services.contract.transitions import Action, Status
from services.store import keys
from services.store.store import Store
from tests.conftest import profile, result, spec

pytestmark = pytest.mark.anyio


async def created(store: Store, tenant: str, *, quota: Quota | None = None, **changes: Any) -> str:
    id = new_id("ftjob")
    assert await store.jobs.create(id, tenant, spec(**changes), quota=quota or Quota())
    return id


async def taken(store: Store, count: int) -> list[str]:
    """Whose jobs are claimed, in turn."""
    claims = [await store.leases.claim_next(profile(f"w{number}")) for number in range(count)]
    return [claim.tenant if claim else "nobody" for claim in claims]


async def test_one_job_of_a_tenant_does_not_wait_for_another_tenants_hundreds(store: Store) -> None:
    for _ in range(300):
        await created(store, "ann", priority=9)
    await created(store, "bob", priority=0)
    assert await taken(store, 3) == ["ann", "bob", "ann"]


async def test_tenants_take_turns_by_their_weights(store: Store) -> None:
    for tenant, weight in (("ann", 1.0), ("bob", 2.0), ("cat", 1.0)):
        for _ in range(40):
            await created(store, tenant, quota=Quota(weight=weight))
    first = await taken(store, 40)
    assert {tenant: first.count(tenant) for tenant in ("ann", "bob", "cat")} == {"ann": 10, "bob": 20, "cat": 10}


async def test_within_a_tenant_priority_decides_then_time(store: Store) -> None:
    first, second, urgent = [await created(store, "ann", priority=p) for p in (0, 0, 5)]
    claims = [await store.leases.claim_next(profile()) for _ in range(3)]
    assert [claim and claim.job for claim in claims] == [urgent, first, second]


async def test_who_was_away_saves_up_no_turns(store: Store) -> None:
    for _ in range(10):
        await created(store, "ann")
    await taken(store, 5)
    for _ in range(5):
        await created(store, "bob")
    assert (await taken(store, 6)).count("bob") == 3


async def test_who_comes_again_and_again_overtakes_nobody(store: Store) -> None:
    """One job at a time, beside a tenant that has several waiting; and beside one whom nobody can serve."""
    await created(store, "cat", device="cuda")
    for _ in range(4):
        await created(store, "bob")
    served = []
    for _ in range(8):
        await created(store, "ann")
        served += await taken(store, 1)
    assert served.count("bob") == 4
    assert served[:6].count("bob") >= 2


async def test_a_job_whose_record_is_gone_leaves_its_tenants_line(store: Store) -> None:
    ghost, good = await created(store, "ann"), await created(store, "bob")
    await store.redis.delete(keys.job(ghost))
    claim = await store.leases.claim_next(profile())
    assert claim is not None
    assert claim.job == good
    assert await store.leases.claim_next(profile()) is None
    assert await store.redis.zcard(keys.TURNS) == 0
    assert await store.redis.zcard(keys.queued_by("ann", "any")) == 0


async def test_a_tenant_runs_as_many_as_it_may_and_the_others_go_on(store: Store) -> None:
    limits = Quota(running_jobs=1)
    first, second = await created(store, "ann", quota=limits), await created(store, "ann", quota=limits)
    await created(store, "bob", quota=limits)
    claim = await store.leases.claim_next(profile())
    assert claim is not None
    assert claim.job == first
    assert await taken(store, 2) == ["bob", "nobody"]
    waiting = await store.jobs.get(second)
    assert waiting is not None
    assert waiting.reason.code == "waiting_for_turn"
    await store.leases.finish(claim, result(), "done", {})
    assert await taken(store, 1) == ["ann"]


async def test_a_place_is_told_as_an_estimate(store: Store) -> None:
    own = [await created(store, "ann") for _ in range(4)]
    for _ in range(2):
        await created(store, "bob")
    records = [await store.jobs.get(id) for id in own]
    places = [record and await store.jobs.place(record) for record in records]
    assert sorted(place.ahead for place in places if place) == [1, 3, 4, 5]


@pytest.mark.parametrize("leave", ["claimed", "cancelled", "paused", "set aside"])
async def test_nothing_is_left_of_a_tenant_that_waits_no_more(store: Store, leave: str) -> None:
    id = await created(store, "ann")
    match leave:
        case "claimed":
            claim = await store.leases.claim_next(profile())
            assert claim is not None
            assert (await store.redis.hgetall(keys.HELD))[b"ann"] == b"1"
            await store.leases.release(claim, "released", "", counts=False)
            assert await store.redis.zcard(keys.TURNS) == 1
            await store.jobs.request(id, Action.CANCEL)
        case "set aside":
            await store.jobs.set_aside(id, "why")
        case _:
            requested = await store.jobs.request(id, Action.CANCEL if leave == "cancelled" else Action.PAUSE)
            assert requested is not None
            assert requested.status in (Status.CANCELLED, Status.PAUSED)
    assert await store.redis.zcard(keys.TURNS) == 0
    assert b"ann" not in await store.redis.hgetall(keys.HELD)
    for kind in keys.KINDS:
        assert await store.redis.zcard(keys.queued_by("ann", kind)) == await store.redis.zcard(keys.queued(kind)) == 0
