"""Webhooks and what they were told: who is to be told what is written as a job ends, by the script that ends it."""

import base64
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, Field

from services.contract.timing import Timing
from services.contract.webhook import (
    SECRET,
    ChangedWebhook,
    Delivery,
    DeliveryStatus,
    NewWebhook,
    Webhook,
    WebhookWithSecret,
)
from services.store import keys
from services.store.commands import Redis, Value
from services.store.reading import readable
from services.store.scripts import DELIVERIES_CAP, Answer, Scripts
from services.store.totals import Count

MOST = 20  # webhooks of a tenant
OF_A_WEBHOOK, OF_A_TENANT = 4, 16  # deliveries under way: one that is slow leaves room for the others
SECRET_BYTES = 32
READ_AT_ONCE = 500  # deliveries
OLD_SECRETS = 4  # of a webhook that is rotated again and again: each costs a signature in a header
# Deliveries that a tenant may have for one that is over to stay: those to come must find room.
ROOM = {"pending": DELIVERIES_CAP, "delivered": DELIVERIES_CAP // 2, "failed": DELIVERIES_CAP * 9 // 10}


class OldSecret(BaseModel):
    """Messages are signed by it too, until then: Unix time, s."""

    secret: str
    until: int


class WebhookRecord(WebhookWithSecret):
    """As it is kept: with its secrets, by which messages are signed."""

    old_secrets: list[OldSecret] = Field(default_factory=list)

    @classmethod
    def new(cls, id: str, asked: NewWebhook) -> Self:
        now, secret = int(time.time()), _new_secret()
        return cls(
            id=id,
            created_at=now,
            updated_at=now,
            signing_secret=secret,
            signing_secret_hint=_hint(secret),
            **asked.model_dump(),
        )

    def changed(self, asked: ChangedWebhook) -> Self:
        changed = self.model_copy(update=asked.model_dump(exclude_none=True))
        return self if changed == self else changed.model_copy(update={"updated_at": int(time.time())})

    def rotated(self, *, keep_old_for: float) -> Self:
        """With a new secret; the old one stays for so many seconds."""
        now, secret = int(time.time()), _new_secret()
        old = OldSecret(secret=self.signing_secret, until=now + round(keep_old_for))
        kept = [old, *(older for older in self.old_secrets if now < older.until)][:OLD_SECRETS]
        new = {"signing_secret": secret, "signing_secret_hint": _hint(secret), "updated_at": now}
        return self.model_copy(update=new | {"old_secrets": kept if keep_old_for else []})

    def secrets_at(self, now: int) -> list[str]:
        """That messages are signed by: a receiver may have any that was kept, as an answer may have been lost."""
        return [self.signing_secret, *(old.secret for old in self.old_secrets if now < old.until)]

    @property
    def shown(self) -> Webhook:
        return Webhook.model_validate(self.model_dump(include=set(Webhook.model_fields)))

    @property
    def shown_with_secret(self) -> WebhookWithSecret:
        return WebhookWithSecret.model_validate(self.model_dump(include=set(WebhookWithSecret.model_fields)))


@dataclass(frozen=True)
class Due:
    """Something is to be done with a delivery of this tenant."""

    tenant: str
    delivery: str

    @property
    def member(self) -> str:
        """Of DUE."""
        return f"{self.tenant} {self.delivery}"


@dataclass(frozen=True)
class Kept:
    """A delivery as it lies in Redis: `read` is None where another version wrote it."""

    raw: bytes
    read: Delivery | None


@dataclass(frozen=True)
class Overdue:
    """Deliveries that wait for a sender, and for how many seconds no sender has looked for them."""

    count: int
    unattended: float


class Webhooks:
    def __init__(self, redis: Redis, scripts: Scripts, timing: Timing) -> None:
        self._redis, self._scripts, self._timing = redis, scripts, timing

    async def add(self, tenant: str, webhook: WebhookRecord) -> WebhookRecord | None:
        """As it is now, which a try before may have made; None where the tenant has as many as it may."""
        is_there = await self._put(tenant, webhook, b"")
        return (await self.get(tenant, webhook.id) or webhook) if is_there else None

    async def change(
        self, tenant: str, id: str, alter: Callable[[WebhookRecord], WebhookRecord]
    ) -> WebhookRecord | None:
        """As `alter` has it, whoever else changes it meanwhile; None where it is not there."""
        while (raw := await self._redis.hget(keys.webhooks_of(tenant), id)) is not None:
            known = next(readable(WebhookRecord, [raw]), None)
            if known is None:
                return None
            if await self._put(tenant, changed := alter(known), raw):
                return changed
        return None

    async def _put(self, tenant: str, webhook: WebhookRecord, was: bytes) -> bool:
        args: list[Value] = [webhook.id, webhook.model_dump_json(), was, MOST]
        return (await self._scripts("put_webhook", [keys.webhooks_of(tenant)], args))[0] is Answer.OK

    async def all(self, tenant: str) -> list[WebhookRecord]:
        """Newest first."""
        found = await self._redis.hgetall(keys.webhooks_of(tenant))
        return sorted(readable(WebhookRecord, found.values()), key=lambda webhook: webhook.id, reverse=True)

    async def get(self, tenant: str, id: str) -> WebhookRecord | None:
        found = await self._redis.hget(keys.webhooks_of(tenant), id)
        return next(readable(WebhookRecord, [found]), None) if found else None

    async def is_there(self, tenant: str, id: str) -> bool:
        """Also one that cannot be read."""
        return await self._redis.hget(keys.webhooks_of(tenant), id) is not None

    async def remove(self, tenant: str, id: str) -> None:
        """With what it was told; what is due of it goes as it comes."""
        of_it = await self._deliveries_of(tenant, id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(keys.webhooks_of(tenant), id)
            if of_it:
                pipe.hdel(keys.deliveries_of(tenant), *of_it)
            await pipe.execute()

    async def forget(self, tenant: str) -> None:
        """All of a tenant's."""
        await self._redis.delete(keys.webhooks_of(tenant), keys.deliveries_of(tenant))

    # --- deliveries ------------------------------------------------------------------------------------------------

    async def deliveries(
        self, tenant: str, webhook: str, *, after: str | None, limit: int, status: DeliveryStatus | None = None
    ) -> tuple[list[Delivery], bool]:
        """Of the newest jobs first, from the one beyond `after`, where given only those of a status; and whether there
        are more."""
        found: list[Delivery] = []
        beyond = [id for id in await self._deliveries_of(tenant, webhook) if after is None or id < after]
        beyond.sort()
        while beyond and len(found) <= limit:
            beyond, ids = beyond[:-READ_AT_ONCE], beyond[-READ_AT_ONCE:]
            raw = await self._redis.hmget(keys.deliveries_of(tenant), ids[::-1])
            found += [each for each in readable(Delivery, filter(None, raw)) if status in (None, each.status)]
        return found[:limit], len(found) > limit

    async def _deliveries_of(self, tenant: str, webhook: str) -> list[str]:
        known = await self._redis.hkeys(keys.deliveries_of(tenant))
        return [id for id in map(bytes.decode, known) if id.startswith(_prefix(webhook))]

    async def delivery(self, tenant: str, id: str) -> Kept | None:
        raw = await self._redis.hget(keys.deliveries_of(tenant), id)
        return Kept(raw, next(readable(Delivery, [raw]), None)) if raw is not None else None

    async def claim(self, under_way: Collection[Due], *, limit: int) -> tuple[int, list[Due]]:
        """What is due, and ours for a while, beside what is under way already; and Redis' time, s."""
        lease, moment = (round(seconds * 1000) for seconds in (self._timing.webhook_lease, self._timing.webhook_turn))
        args: list[Value] = [lease, limit, OF_A_TENANT, OF_A_WEBHOOK, moment, *(due.member for due in under_way)]
        _, (now, *members) = await self._scripts("claim_deliveries", [keys.DUE, keys.LOOKED], args, patience=0)
        return int(now), [Due(*member.decode().split(" ", 1)) for member in members]

    async def resend_failed(self, tenant: str, webhook: str) -> list[str]:
        """Due from the beginning, all that was given up: their ids."""
        args: list[Value] = [tenant, _prefix(webhook)]
        _, ids = await self._scripts("resend_deliveries", [keys.deliveries_of(tenant), keys.DUE], args)
        return [id.decode() for id in ids]

    async def overdue(self) -> Overdue:
        seconds, micros = await self._redis.time()
        now = seconds * 1000 + micros // 1000
        count = await self._redis.zcount(keys.DUE, "-inf", now)
        first = await self._redis.zrange(keys.DUE, 0, 0, withscores=True)
        looked = float(await self._redis.get(keys.LOOKED) or 0)
        return Overdue(count, max(0.0, now - max(first[0][1], looked)) / 1000 if count and first else 0.0)

    async def settle(
        self, due: Due, was: bytes, delivery: Delivery | None, *, seconds: float, count: Count | None = None
    ) -> Answer:
        """It is this now, and due again in so many seconds; None goes. What is over stays while there is room. Refused
        where it is no longer as it `was`: somebody asked for it anew, or it was settled."""
        said = delivery.model_dump_json() if delivery else ""
        room = ROOM[delivery.status] if delivery else 0
        args: list[Value] = [due.tenant, due.delivery, was, said, round(seconds * 1000), count or "", room]
        of_it = [keys.deliveries_of(due.tenant), keys.DUE, keys.TOTALS]
        return (await self._scripts("settle_delivery", of_it, args))[0]


def _prefix(webhook: str) -> str:
    """Of its deliveries' ids."""
    return f"whd-{webhook.removeprefix('wh-')}-"


def _new_secret() -> str:
    return SECRET + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _hint(secret: str) -> str:
    return f"{SECRET}…{secret[-4:]}"
