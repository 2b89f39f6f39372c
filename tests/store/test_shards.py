"""A shared pass in Redis: shards are leased in the order of need, by the right number, and nothing is written once it
is over."""

from typing import Any

import pytest

from services.contract.asked import Limits
from services.contract.ids import new_id
from services.contract.transitions import Action
from services.store import keys
from services.store.leases import Claim, Fenced
from services.store.record import JobRecord
from services.store.shards import Brought, Wanted
from services.store.store import Store
from tests.conftest import profile, raw, spec

pytestmark = pytest.mark.anyio


async def shared(store: Store, shards: int = 5, **changes: Any) -> tuple[Claim, JobRecord]:
    id = new_id("ftjob")
    await store.jobs.create(id, "local", spec(**changes))
    claim = await store.leases.claim(id, profile("owner"))
    assert claim is not None
    await store.shards.share(claim, shards, "local/shared/x/plan", 64)
    return claim, await found(store, id)


async def found(store: Store, id: str) -> JobRecord:
    record = await store.jobs.get(id)
    assert record is not None
    return record


def segment(shard: int) -> Brought:
    return Brought(shard=shard, place=f"local/shared/x/{shard}", crc32=1, helper="h")


async def test_the_earliest_free_shard_is_leased_and_what_the_owner_takes_is_left_to_it(store: Store) -> None:
    claim, record = await shared(store)
    assert record.plan is not None
    assert (record.plan.place, record.plan.size) == ("local/shared/x/plan", 64)
    await store.shards.take(claim, 0)
    await store.shards.take(claim, 2)
    assert [await store.shards.lease(record, "h") for _ in range(4)] == [1, 3, 4, None]
    news = await store.shards.news(claim, since=0)
    assert (news.leased, news.brought, news.helpers) == ([1, 3, 4], [], 1)


async def test_a_lease_that_ended_is_anothers_before_what_is_free_behind_it(store: Store) -> None:
    claim, record = await shared(store)
    assert [await store.shards.lease(record, "frozen") for _ in range(2)] == [0, 1]
    await raw(store).zadd(keys.shards(claim.job), {"000001": 1})
    assert await store.shards.lease(record, "h") == 1
    assert await store.shards.lease(record, "h") == 2


async def test_what_is_brought_is_told_once_and_counted(store: Store) -> None:
    claim, record = await shared(store)
    assert await store.shards.lease(record, "h") == 0
    assert await store.shards.bring(record, segment(0), 1.5) is Wanted.YES
    assert await store.shards.bring(record, segment(0), 1.5) is Wanted.YES  # whose answer was lost
    another = segment(0).model_copy(update={"place": "local/shared/x/another"})
    assert await store.shards.bring(record, another, 1.5) is Wanted.NO
    assert (await store.shards.news(claim, since=0)).brought == [segment(0)]
    assert (await store.shards.news(claim, since=1)).brought == []
    assert (await found(store, claim.job)).helped_seconds == 3.0  # both were worked
    assert await store.shards.lease(record, "h") == 1


async def test_no_more_help_than_the_job_wants(store: Store) -> None:
    _, record = await shared(store, limits=Limits(max_workers=2))
    assert await store.shards.lease(record, "first") == 0
    assert await store.shards.lease(record, "second") is None
    assert await store.shards.lease(record, "first") == 1
    await raw(store).zadd(keys.helpers(record.id), {"first": 1})  # gone for long
    assert await store.shards.lease(record, "second") == 2


@pytest.mark.parametrize("how", ["ended", "released", "cancelled", "deleted"])
async def test_once_the_pass_is_over_nothing_is_written(store: Store, how: str) -> None:
    claim, record = await shared(store)
    assert await store.shards.lease(record, "h") == 0
    if how == "ended":
        await store.shards.end(claim)
    elif how == "released":
        await store.leases.release(claim, "released", "drained", counts=False)
    else:
        await store.jobs.request(claim.job, Action.CANCEL)
        await store.leases.release(claim, "released", "cancelled", counts=False)
    if how == "deleted":
        await store.forget(await found(store, claim.job))
    assert await store.shards.bring(record, segment(0), 1.0) is Wanted.GONE
    assert await store.shards.lease(record, "h") is None
    assert await store.shards.passes() == []
    if how in ("ended", "deleted"):
        assert not await raw(store).exists(keys.shards(claim.job), keys.brought(claim.job), keys.helpers(claim.job))


async def test_a_lost_owner_shares_nothing_and_a_new_one_begins_anew(store: Store) -> None:
    claim, record = await shared(store)
    await store.shards.lease(record, "h")
    await store.leases.release(claim, "worker_lost", "lost", counts=True)
    with pytest.raises(Fenced):
        await store.shards.take(claim, 1)
    again = await store.leases.claim(claim.job, profile("next"))
    assert again is not None
    await store.shards.share(again, 3, "local/shared/y/plan", 64)
    assert await store.shards.bring(record, segment(0), 1.0) is Wanted.GONE
    assert await store.shards.lease(await found(store, claim.job), "h") == 0


async def test_a_pass_whose_owner_says_nothing_does_not_stay(store: Store) -> None:
    claim, record = await shared(store, shards=2500)
    await store.shards.lease(record, "h")
    await store.shards.bring(record, segment(0), 1.0)
    await store.shards.take(claim, 1)
    for key in (keys.shards(claim.job), keys.brought(claim.job), keys.helpers(claim.job)):
        assert 0 < await raw(store).ttl(key) <= 3600
    assert await raw(store).zcard(keys.shards(claim.job)) == 2499


async def test_a_renewed_lease_lasts_and_what_the_owner_took_stays_its_own(store: Store) -> None:
    claim, record = await shared(store)
    for _ in range(2):
        await store.shards.lease(record, "h")
    await raw(store).zadd(keys.shards(claim.job), {"000000": 1, "000001": 1})
    await raw(store).zadd(keys.helpers(claim.job), {"h": 1})
    await store.shards.take(claim, 1)
    await store.shards.renew(record, "h", [0, 1])
    assert (await store.shards.news(claim, since=0)).leased == [0]
    assert (await store.shards.news(claim, since=0)).helpers == 1
    assert await store.shards.lease(record, "another") == 2


async def test_help_is_wanted_while_a_shard_is_free(store: Store) -> None:
    claim, record = await shared(store, shards=2, limits=Limits(max_workers=2))
    assert await store.shards.wants_help(record)
    await store.shards.lease(record, "h")
    assert not await store.shards.wants_help(record)  # one is enough
    await store.shards.take(claim, 1)
    await raw(store).delete(keys.helpers(record.id))
    assert not await store.shards.wants_help(record)


async def test_what_a_lost_owner_left_open_is_closed(store: Store) -> None:
    claim, record = await shared(store)
    assert [found.id for found in await store.shards.passes()] == [record.id]
    await store.leases.release(claim, "worker_lost", "lost", counts=True)
    await store.jobs.request(claim.job, Action.CANCEL)
    assert await store.shards.passes() == []
    assert not await raw(store).exists(keys.SHARED)


async def test_who_comes_late_does_not_close_the_next_attempts_pass(store: Store) -> None:
    claim, record = await shared(store)
    await store.leases.release(claim, "released", "drained", counts=False)
    again = await store.leases.claim(claim.job, profile("next"))
    assert again is not None
    await store.shards.share(again, 3, "local/shared/y/plan", 64)
    assert await store.shards.lease(record, "late") is None
    assert [found.id for found in await store.shards.passes()] == [record.id]
