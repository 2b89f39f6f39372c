"""Deliveries: born with a job's end, sent until they are taken, given up after three days, never lost on the way."""

import asyncio
import base64
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from standardwebhooks import Webhook as Verifier

from services.contract.clock import Steady
from services.contract.ids import new_id
from services.contract.timing import Timing
from services.contract.transitions import Action
from services.contract.webhook import ChangedWebhook, Delivery, NewWebhook
from services.process.ending import end
from services.settings import Settings
from services.store import keys
from services.store.scripts import DELIVERIES_CAP, Answer
from services.store.store import Store
from services.store.totals import Count, read_totals
from services.store.webhooks import MOST, OF_A_TENANT, OF_A_WEBHOOK, ROOM, Due, Overdue, WebhookRecord
from services.webhooks.delivering import Delivering, after, asked_again, pause, stays
from services.webhooks.outside import Answered
from tests.conftest import profile, raw, result, spec
from tests.receivers import Receiver

pytestmark = pytest.mark.anyio

FAST = 0.05


async def webhook(store: Store, url: str, tenant: str = "local", **asked: object) -> WebhookRecord:
    made = WebhookRecord.new(new_id("wh"), NewWebhook.model_validate({"url": url} | asked))
    assert await store.webhooks.add(tenant, made)
    return made


async def cancelled(store: Store, tenant: str = "local") -> str:
    id = new_id("ftjob")
    await store.jobs.create(id, tenant, spec())
    await store.jobs.request(id, Action.CANCEL)
    return id


async def deliveries(store: Store, of: WebhookRecord) -> list[Delivery]:
    return (await store.webhooks.deliveries("local", of.id, after=None, limit=100))[0]


@asynccontextmanager
async def delivering(store: Store, settings: Settings, scale: float = FAST) -> AsyncIterator[None]:
    config = settings.model_copy(update={"webhook_networks": "127.0.0.0/8", "time_scale": scale})
    running = asyncio.create_task(Delivering(store, config).run())
    try:
        yield
    finally:
        await end(running)  # redis-py may lose a cancellation


async def until_settled(store: Store, of: WebhookRecord) -> list[Delivery]:
    while True:
        found = await deliveries(store, of)
        if all(each.status != "pending" for each in found):
            return found
        await asyncio.sleep(0.02)


async def nothing_is_left(store: Store) -> bool:
    return not await raw(store).exists(keys.DUE, keys.deliveries_of("local"))


async def was_looked_at(store: Store, delivery: Delivery) -> bool:
    """Since it was made due at 1 ms."""
    return bool(await raw(store).zscore(keys.DUE, f"local {delivery.id}") != 1.0)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1000):
        if await is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never was so")


async def test_each_end_is_told_once_signed_to_those_who_listen(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    all_ends = await webhook(store, receiver.url)
    deaf = await webhook(store, receiver.url, event_types=["fine_tuning.job.failed"])
    elsewhere = await webhook(store, receiver.url, tenant="other")
    id = await cancelled(store)
    claim = None
    await store.jobs.create(new_id("ftjob"), "local", spec())
    for _ in range(5):
        claim = claim or await store.leases.claim((await waiting(store))[0], profile())
    assert claim is not None
    await store.leases.finish(claim, result(), "done", {})
    await store.leases.finish(claim, result(), "done", {})  # its reply was lost
    async with delivering(store, settings):
        found = await until_settled(store, all_ends)
    assert {each.job: each.event.rpartition(".")[2] for each in found} == {id: "cancelled", claim.job: "succeeded"}
    assert await deliveries(store, deaf) == []
    assert (await store.webhooks.deliveries("other", elsewhere.id, after=None, limit=9))[0] == []
    assert sorted(receiver.ids) == sorted(each.id for each in found)
    for headers, body in receiver.messages:
        said = Verifier(all_ends.signing_secret).verify(body, headers)
        assert said["type"] == f"fine_tuning.job.{'cancelled' if said['data']['id'] == id else 'succeeded'}"
        assert said["object"] == "event"
    assert (await read_totals(store.redis))[Count.WEBHOOKS_DELIVERED] == 2


async def waiting(store: Store) -> list[str]:
    return [id.decode() for id in await raw(store).zrange(keys.queued("any"), 0, -1)]


async def test_a_delivery_that_is_refused_is_tried_again_with_the_same_id(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    receiver.answers = [500, 302]
    told = await webhook(store, receiver.url)
    await cancelled(store)
    async with delivering(store, settings):
        (delivery,) = await until_settled(store, told)
    assert delivery.status == "delivered"
    assert delivery.attempts >= 3
    assert len(set(receiver.ids)) == 1
    assert len(receiver.messages) >= 3


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again_until_one_says_so(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    receiver.answers = [410]
    told = await webhook(store, receiver.url)
    await cancelled(store)
    async with delivering(store, settings):
        (delivery,) = await until_settled(store, told)
        assert delivery.status == "failed"
        assert delivery.last_attempt is not None
        assert delivery.last_attempt.error == "it answered 410 (Gone)"
        kept = await store.webhooks.delivery("local", delivery.id)
        assert kept is not None
        await store.webhooks.settle(Due("local", delivery.id), kept.raw, asked_again(delivery), seconds=0)
        (delivery,) = await until_settled(store, told)
    assert delivery.status == "delivered"


async def test_one_whose_sender_died_is_sent_by_another(store: Store, settings: Settings, receiver: Receiver) -> None:
    told = await webhook(store, receiver.url)
    await cancelled(store)
    short = settings.model_copy(update={"time_scale": FAST}).timing
    store.webhooks._timing = short
    _, (due,) = await store.webhooks.claim([], limit=9)  # and then it is killed
    assert (await store.webhooks.claim([], limit=9))[1] == []
    async with delivering(store, settings):
        (delivery,) = await until_settled(store, told)
    assert delivery.id == due.delivery
    assert len(receiver.messages) == 1


async def test_a_slow_receiver_holds_up_itself_only(store: Store, settings: Settings) -> None:
    slow, other = await webhook(store, "http://127.0.0.1:9/"), await webhook(store, "http://127.0.0.1:9/")
    await webhook(store, "http://127.0.0.1:9/", tenant="other")
    for _ in range(OF_A_WEBHOOK + 5):
        await cancelled(store)
    await cancelled(store, "other")
    _, found = await store.webhooks.claim([], limit=100)
    assert Counter(hook_of(due) for due in found)[slow.id] == OF_A_WEBHOOK
    assert Counter(hook_of(due) for due in found)[other.id] == OF_A_WEBHOOK
    assert [due.tenant for due in found].count("other") == 1
    assert (await store.webhooks.claim(found, limit=100))[1] == []
    free = [due for due in found if hook_of(due) == other.id]
    _, more = await store.webhooks.claim([due for due in found if due not in free], limit=100)
    assert {hook_of(due) for due in more} == {other.id}


async def test_a_tenant_has_a_share_too(store: Store, settings: Settings) -> None:
    for _ in range(MOST):
        await webhook(store, "http://127.0.0.1:9/")
    for _ in range(OF_A_WEBHOOK):
        await cancelled(store)
    _, found = await store.webhooks.claim([], limit=100)
    assert len(found) == OF_A_TENANT


def hook_of(due: Due) -> str:
    return f"wh-{due.delivery.split('-')[1]}"


async def test_a_receiver_that_hangs_does_not_slow_its_neighbour(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        await webhook(store, f"http://127.0.0.1:{deaf.getsockname()[1]}/")  # the older one, which came first at ties
        healthy = await webhook(store, receiver.url)
        for _ in range(30):
            await cancelled(store)
        async with delivering(store, settings, scale=0.5):  # the deaf one takes 7 s of a try
            async with asyncio.timeout(6):
                await until_settled(store, healthy)
    assert len(receiver.messages) == 30


async def test_a_webhook_that_is_deleted_is_told_nothing_more(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    told = await webhook(store, receiver.url)
    await cancelled(store)
    await store.webhooks.remove("local", told.id)
    async with delivering(store, settings):
        await until(lambda: nothing_is_left(store))
    assert not await raw(store).exists(keys.DUE, keys.deliveries_of("local"))
    assert receiver.messages == []


@pytest.mark.parametrize("late", [0, 400_000], ids=["at once", "no sender for days"])
async def test_tries_come_ever_later_and_end_three_days_after_the_first(late: int) -> None:
    timing, now, tries = Timing(), late, []
    delivery = Delivery(id="whd-", webhook="wh-", job="j", event="fine_tuning.job.failed", created_at=0, due_since=0)
    while delivery.status == "pending":
        delivery = after(delivery, Answered(None, "refused"), now, timing)
        tries.append(now - late)
        now = delivery.next_attempt_at or now
    assert tries[:4] == [0, 5, 25, 105]
    assert timing.webhook_given_up - timing.webhook_last_retry < tries[-1] <= timing.webhook_given_up
    assert max(pause(n, timing) for n in range(1, 30)) == timing.webhook_last_retry
    assert asked_again(delivery).status == "pending"


async def test_both_secrets_sign_while_the_old_one_is_kept(
    store: Store, settings: Settings, receiver: Receiver
) -> None:
    told = await webhook(store, receiver.url)
    secrets = [told.signing_secret]
    for _ in range(2):  # its answer was lost, and it was asked again; or both were used in turn
        changed = await store.webhooks.change("local", told.id, lambda known: known.rotated(keep_old_for=60))
        assert changed is not None
        secrets.append(changed.signing_secret)
    await cancelled(store)
    async with delivering(store, settings):
        await until_settled(store, told)
    ((headers, body),) = receiver.messages
    now = await store.webhooks.get("local", told.id)
    assert now is not None
    for secret in secrets:
        Verifier(secret).verify(body, headers)
    assert now.secrets_at(int(time.time()) + 61) == [now.signing_secret]
    assert now.rotated(keep_old_for=0).old_secrets == []
    assert len(base64.b64decode(now.signing_secret.removeprefix("whsec_"))) == 32


async def test_whoever_changes_a_webhook_meanwhile_loses_nothing(store: Store) -> None:
    told = await webhook(store, "http://127.0.0.1:9/")

    async def rotate() -> None:
        await store.webhooks.change("local", told.id, lambda known: known.rotated(keep_old_for=0))

    async def rename(name: str) -> None:
        await store.webhooks.change("local", told.id, lambda known: known.changed(ChangedWebhook(name=name)))

    await asyncio.gather(rotate(), *(rename(str(n)) for n in range(10)))
    now = await store.webhooks.get("local", told.id)
    assert now is not None
    assert now.signing_secret != told.signing_secret
    assert now.name
    assert await store.webhooks.change("local", "wh-none", lambda known: known) is None


async def test_what_was_asked_for_again_is_not_settled_by_the_try_before(store: Store) -> None:
    await webhook(store, "http://127.0.0.1:9/")
    await cancelled(store)
    _, (due,) = await store.webhooks.claim([], limit=9)
    kept = await store.webhooks.delivery("local", due.delivery)
    assert kept is not None
    assert kept.read is not None
    again = asked_again(kept.read).model_copy(update={"attempts": 7})
    assert await store.webhooks.settle(due, kept.raw, again, seconds=0) is Answer.OK
    assert await store.webhooks.settle(due, kept.raw, kept.read, seconds=60) is Answer.REFUSED
    assert (await store.webhooks.claim([], limit=9))[1] == [due]


async def test_what_another_version_wrote_waits_for_that_version(store: Store, settings: Settings) -> None:
    told = await webhook(store, "http://127.0.0.1:9/")
    await cancelled(store)
    (id,) = await raw(store).hkeys(keys.deliveries_of("local"))
    for key, field in ((keys.deliveries_of("local"), id), (keys.webhooks_of("local"), told.id)):
        was = await raw(store).hget(key, field)
        await raw(store).hset(key, field, b'{"event": "of tomorrow"}')
        async with delivering(store, settings):
            await asyncio.sleep(0.5)
        assert await raw(store).zcard(keys.DUE) == await raw(store).hlen(keys.deliveries_of("local")) == 1
        await raw(store).hset(key, field, was)


async def test_a_tenant_that_has_thousands_due_keeps_nobody_waiting(store: Store) -> None:
    many = {f"local whd-x-{n}": float(n) for n in range(3000)}
    await raw(store).zadd(keys.DUE, many | {"other whd-y-1": 5000.0})
    busy = [Due("local", f"whd-x-{n}") for n in range(OF_A_WEBHOOK)]
    seen = [due.tenant for _ in range(4) for due in (await store.webhooks.claim(busy, limit=9))[1]]
    assert seen == ["other"]
    overdue = await store.webhooks.overdue()
    assert overdue.count < 3000


async def test_what_is_due_and_seen_to_by_nobody_can_be_seen(store: Store) -> None:
    assert (await store.webhooks.overdue()).count == 0
    await webhook(store, "http://127.0.0.1:9/")
    await cancelled(store)
    await asyncio.sleep(0.02)
    overdue = await store.webhooks.overdue()
    assert (overdue.count, 0 < overdue.unattended < 30) == (1, True)
    await store.webhooks.claim([], limit=9)
    assert await store.webhooks.overdue() == Overdue(0, 0)
    await raw(store).zadd(keys.DUE, {f"local whd-x-{n}": 1.0 for n in range(9)})  # a webhook that hangs has nine
    await store.webhooks.claim([], limit=9)
    overdue = await store.webhooks.overdue()
    assert (overdue.count, overdue.unattended < 30) == (5, True)


async def test_a_clock_that_went_back_leaves_no_delivery_behind(store: Store) -> None:
    await webhook(store, "http://127.0.0.1:9/")
    await cancelled(store)
    ((member, score),) = await raw(store).zrange(keys.DUE, 0, -1, withscores=True)
    await raw(store).zadd(keys.DUE, {member: score + 40 * 86_400_000})
    assert (await store.webhooks.claim([], limit=9))[1] == []
    assert await store.leases.after_a_clock_that_went_back() == 1
    assert len((await store.webhooks.claim([], limit=9))[1]) == 1


async def test_a_clock_that_jumped_ahead_deletes_no_dead_letter_and_gives_nothing_up(
    store: Store, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [410]
    told = await webhook(store, receiver.url)
    await cancelled(store)
    async with delivering(store, settings):
        (failed,) = await until_settled(store, told)
    assert failed.last_attempt is not None
    old = failed.model_copy(update={"last_attempt": failed.last_attempt.model_copy(update={"at": 1})})
    await raw(store).hset(keys.deliveries_of("local"), failed.id, old.model_dump_json())
    await raw(store).zadd(keys.DUE, {f"local {failed.id}": 1.0})  # it is due to go
    async with delivering(store, settings, scale=1):
        await until(lambda: was_looked_at(store, failed))
        await asyncio.sleep(0.2)  # that nothing happens cannot be waited for
    assert await deliveries(store, told) == [old]
    await raw(store).zadd(keys.DUE, {f"local {failed.id}": 1.0})
    monkeypatch.setattr(Steady, "sees", lambda *_: True)  # as after an hour without a jump
    async with delivering(store, settings, scale=1):
        await until(lambda: nothing_is_left(store))
    assert not await deliveries(store, told)
    month = Timing().webhook_failed_kept
    assert stays(failed, int(time.time()), Timing()) == pytest.approx(month, abs=60)
    assert stays(failed, int(time.time() + month) + 60, Timing()) < 0
    pending = failed.model_copy(update={"status": "pending", "due_since": 0, "attempts": 3})
    assert after(pending, Answered(500), int(time.time()), Timing(), is_steady=False).status == "pending"
    assert after(pending, Answered(500), int(time.time()), Timing()).status == "failed"


async def test_dead_letters_stay_longer_than_what_came_through(store: Store) -> None:
    told = await webhook(store, "http://127.0.0.1:9/")
    filler = {f"whd-x-{n}": "{}" for n in range(ROOM["delivered"])}
    await raw(store).hset(keys.deliveries_of("local"), mapping=filler)
    for status, stay in (("failed", True), ("delivered", False)):
        await cancelled(store)
        _, (due,) = await store.webhooks.claim([], limit=9)
        kept = await store.webhooks.delivery("local", due.delivery)
        assert kept is not None
        assert kept.read is not None
        over = kept.read.model_copy(update={"status": status})
        settled = await store.webhooks.settle(due, kept.raw, over, seconds=60)
        assert settled is (Answer.OK if stay else Answer.GONE)
    assert (await read_totals(store.redis))[Count.WEBHOOKS_DROPPED] == 0
    found, more = await store.webhooks.deliveries("local", told.id, after=None, limit=9, status="failed")
    assert (len(found), more) == (1, False)
    assert await store.webhooks.deliveries("local", told.id, after=None, limit=9, status="pending") == ([], False)


async def test_all_that_was_given_up_is_sent_again_at_once_and_nothing_else(store: Store) -> None:
    told, other = await webhook(store, "http://127.0.0.1:9/"), await webhook(store, "http://127.0.0.1:9/")
    for _ in range(3):
        await cancelled(store)
    _, found = await store.webhooks.claim([], limit=9)
    for due, status in zip(found, ["failed", "delivered"] * 3, strict=True):
        kept = await store.webhooks.delivery("local", due.delivery)
        assert kept is not None
        assert kept.read is not None
        over = kept.read.model_copy(update={"status": status, "attempts": 12})
        await store.webhooks.settle(due, kept.raw, over, seconds=60)
    failed = {d.id for d in await deliveries(store, told) if d.status == "failed"}
    assert set(await store.webhooks.resend_failed("local", told.id)) == failed
    assert await store.webhooks.resend_failed("local", told.id) == []
    again = [each for each in await deliveries(store, told) if each.id in failed]
    assert {(each.status, each.attempts) for each in again} == {("pending", 0)}
    assert {due.delivery for due in (await store.webhooks.claim([], limit=9))[1]} == failed
    assert len(await store.webhooks.resend_failed("local", other.id)) == 3 - len(failed)


async def test_webhooks_and_deliveries_have_a_bound(store: Store) -> None:
    told = await webhook(store, "http://127.0.0.1:9/")
    for _ in range(MOST - 1):
        await webhook(store, "http://127.0.0.1:9/", event_types=["fine_tuning.job.failed"])
    assert await store.webhooks.add("local", told.model_copy(update={"name": "other"})) == told  # asked for twice
    assert not await store.webhooks.add("local", WebhookRecord.new(new_id("wh"), NewWebhook(url="http://127.0.0.1:9/")))
    assert await store.webhooks.change("local", told.id, lambda known: known)
    await raw(store).hset(keys.deliveries_of("local"), mapping={str(i): "{}" for i in range(DELIVERIES_CAP)})
    await cancelled(store)
    assert (await read_totals(store.redis))[Count.WEBHOOKS_DROPPED] == 1


async def test_a_webhook_that_cannot_be_read_holds_up_no_job(store: Store) -> None:
    await raw(store).hset(keys.webhooks_of("local"), "wh-x", "{")
    await raw(store).hset(keys.webhooks_of("local"), "wh-y", json.dumps({"url": "https://x"}))
    record = await store.jobs.get(await cancelled(store))
    assert record is not None
    assert record.status == "cancelled"
