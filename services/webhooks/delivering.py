"""Deliveries as they are due: sent, tried again ever later for three days, and then put aside, where one sees them.

Any number of processes may deliver: each delivery is leased. One whose sender died is sent again, under the same id.
"""

import asyncio
import logging
import time
from contextlib import suppress
from http import HTTPStatus

from services.contract.clock import Steady
from services.contract.timing import Timing
from services.contract.webhook import Delivery, DeliveryAttempt
from services.settings import Settings
from services.store.connection import is_away
from services.store.store import Store
from services.store.totals import Count
from services.store.webhooks import Due
from services.webhooks.message import send
from services.webhooks.outside import Answered, Outside, Reach

log = logging.getLogger("headway.webhooks")

AT_ONCE = 64  # deliveries under way
LATER = 4  # times as long as before, until the next try


class Delivering:
    def __init__(self, store: Store, config: Settings) -> None:
        self._store, self._timing = store, config.timing
        self._outside = Outside(Reach.of(config.webhook_networks), config.timing)
        self._under_way: set[Due] = set()
        self._freed = asyncio.Event()  # one of them is over: another may come
        self._steady = Steady(config.timing)

    async def run(self) -> None:
        """Forever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    try:
                        await self._begin_what_is_due(tasks)
                    except Exception as error:  # what could not be claimed now may be with the next look
                        _note(error, "no deliveries could be claimed")
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._timing.webhook_every):
                            await self._freed.wait()
        finally:
            await self._outside.aclose()

    async def _begin_what_is_due(self, tasks: asyncio.TaskGroup) -> None:
        self._freed.clear()
        if not (free := AT_ONCE - len(self._under_way)):
            return
        now, found = await self._store.webhooks.claim(self._under_way, limit=free)
        is_steady = self._steady.sees(now, time.monotonic())
        for due in found:
            self._under_way.add(due)
            tasks.create_task(self._see_to(due, now, is_steady=is_steady))

    async def _see_to(self, due: Due, now: int, *, is_steady: bool) -> None:
        """What goes wrong here is tried again once the lease has ended."""
        try:
            await self._deliver(due, now, is_steady=is_steady)
        except Exception as error:
            _note(error, due.delivery)
        finally:
            self._under_way.discard(due)
            self._freed.set()

    async def _deliver(self, due: Due, now: int, *, is_steady: bool) -> None:
        """By a clock that jumps nothing is deleted or given up."""
        webhooks = self._store.webhooks
        kept = await webhooks.delivery(due.tenant, due.delivery)
        if kept is None:
            await webhooks.settle(due, b"", None, seconds=0)
            return
        if (delivery := kept.read) is None:
            return  # another version's to send
        webhook = await webhooks.get(due.tenant, delivery.webhook)
        if webhook is None and await webhooks.is_there(due.tenant, delivery.webhook):
            return  # likewise
        if webhook is None:  # deleted
            await webhooks.settle(due, kept.raw, None, seconds=0)
            return
        if delivery.status != "pending":
            if (left := stays(delivery, now, self._timing)) > 0:  # its time came early: a clock went back
                await webhooks.settle(due, kept.raw, delivery, seconds=left)
            elif is_steady:
                await webhooks.settle(due, kept.raw, None, seconds=0)
            return
        answered = await send(
            self._outside, webhook, delivery.id, delivery.event, delivery.job, created_at=delivery.created_at, now=now
        )
        await self._settle(due, kept.raw, after(delivery, answered, now, self._timing, is_steady=is_steady))

    async def _settle(self, due: Due, was: bytes, delivery: Delivery) -> None:
        match delivery.status:
            case "pending":
                seconds, count = pause(delivery.attempts, self._timing), None
            case "delivered":
                seconds, count = self._timing.webhook_kept, Count.WEBHOOKS_DELIVERED
            case "failed":
                seconds, count = self._timing.webhook_failed_kept, Count.WEBHOOKS_FAILED
                log.warning("%s: given up: %s", delivery.id, delivery.last_attempt and delivery.last_attempt.error)
        await self._store.webhooks.settle(due, was, delivery, seconds=seconds, count=count)


def _note(error: Exception, what: str) -> None:
    """That Redis is away is said once, by who asked it."""
    if not is_away(error):
        log.exception("%s", what, exc_info=error)


def after(delivery: Delivery, answered: Answered, now: int, timing: Timing, *, is_steady: bool = True) -> Delivery:
    """What a delivery is once it was tried: the days in which that is done begin with the first try."""
    attempts, since = delivery.attempts + 1, delivery.due_since if delivery.attempts else now
    attempt = DeliveryAttempt(at=now, status_code=answered.status, error=answered.error or _refusal(answered.status))
    told = {"attempts": attempts, "last_attempt": attempt, "due_since": since, "next_attempt_at": None}
    tried = delivery.model_copy(update=told)
    if attempt.error is None:
        return tried.model_copy(update={"status": "delivered"})
    again_at = now + pause(attempts, timing)
    is_too_late = is_steady and again_at > since + timing.webhook_given_up
    if answered.status == HTTPStatus.GONE or is_too_late:
        return tried.model_copy(update={"status": "failed"})
    return tried.model_copy(update={"next_attempt_at": round(again_at)})


def stays(delivery: Delivery, now: int, timing: Timing) -> float:
    """For how many seconds more, once it is over."""
    kept = timing.webhook_kept if delivery.status == "delivered" else timing.webhook_failed_kept
    return min(kept, (delivery.last_attempt.at if delivery.last_attempt else now) + kept - now)


def pause(attempts: int, timing: Timing) -> float:
    """Seconds until the next try."""
    return float(min(timing.webhook_first_retry * LATER ** (attempts - 1), timing.webhook_last_retry))


def asked_again(delivery: Delivery) -> Delivery:
    """From the beginning, whatever came of it."""
    now = int(time.time())
    return delivery.model_copy(update={"status": "pending", "attempts": 0, "due_since": now, "next_attempt_at": now})


def _refusal(status: int | None) -> str | None:
    """Why an answer is none that was hoped for."""
    if status is None or 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"it answered {status}: redirects are not followed"
    phrase = ""
    with suppress(ValueError):
        phrase = f" ({HTTPStatus(status).phrase})"
    return f"it answered {status}{phrase}"
