"""Webhooks: whom a job's end is told, and what came of it. As OpenAI's client calls them, and under a shorter name."""

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from services.api.deps import After, Limit, Tenant, TheOutside, TheSettings, TheStore
from services.api.door import Door
from services.api.idempotency import WEBHOOK, Submission, once
from services.api.pages import Page, cursor, page
from services.contract.errors import NotFound, QuotaExceeded, WebhookUnanswered
from services.contract.webhook import (
    EVENT_TYPES,
    AskedTest,
    ChangedWebhook,
    DeliveriesResent,
    Delivery,
    DeliveryStatus,
    EventTypes,
    NewWebhook,
    RotatedSecret,
    Webhook,
    WebhookDeleted,
    WebhookTested,
    WebhookWithSecret,
)
from services.store.scripts import Answer
from services.store.webhooks import MOST, Due, WebhookRecord
from services.webhooks.delivering import asked_again
from services.webhooks.message import send

router = APIRouter(tags=["webhooks"], route_class=Door)
types = APIRouter(prefix="/v1/webhook_event_types", tags=["webhooks"], route_class=Door)

PATHS = ("/v1/webhooks", "/v1/webhook_endpoints")  # the second is what OpenAI's client calls
CHANGES_A_MINUTE = 60


async def _own(webhook_id: str, tenant: Tenant, store: TheStore) -> WebhookRecord:
    webhook = await store.webhooks.get(tenant, webhook_id)
    if webhook is None:
        raise _not_there(webhook_id)
    return webhook


OwnWebhook = Annotated[WebhookRecord, Depends(_own)]


@types.get("")
async def event_types(tenant: Tenant) -> EventTypes:
    """What a webhook can be told of."""
    return EventTypes(data=list(EVENT_TYPES))


@router.post("", response_model=WebhookWithSecret)
async def create(
    asked: NewWebhook, tenant: Tenant, store: TheStore, outside: TheOutside, settings: TheSettings, request: Request
) -> Any:
    """Tell a URL when jobs end. Its secret is in this answer, and in no other but that of a retry of this request."""
    await _may_change(tenant, store)
    url = await outside.reach.checked_url(asked.url, settings.timing)

    async def make(id: str) -> WebhookWithSecret:
        made = await store.webhooks.add(tenant, WebhookRecord.new(id, asked.model_copy(update={"url": url})))
        if made is None:
            raise QuotaExceeded(f"You have {MOST} webhooks, as many as may be: delete one.")
        return made.shown_with_secret

    submission = Submission(WEBHOOK, request.headers, asked.model_dump(), tenant)
    return await once(make, partial(store.webhooks.is_there, tenant), submission, store, settings.timing)


@router.get("")
async def webhooks(tenant: Tenant, store: TheStore, after: After = None, limit: Limit = 20) -> Page[Webhook]:
    """Newest first."""
    start = cursor(after, "wh")
    found = [webhook.shown for webhook in await store.webhooks.all(tenant) if start is None or webhook.id < start]
    return page(found[:limit], len(found) > limit)


@router.get("/{webhook_id}")
async def webhook(webhook: OwnWebhook) -> Webhook:
    """A webhook, without its secret."""
    return webhook.shown


@router.post("/{webhook_id}")
async def update(
    asked: ChangedWebhook,
    webhook: OwnWebhook,
    tenant: Tenant,
    store: TheStore,
    outside: TheOutside,
    settings: TheSettings,
) -> Webhook:
    """Change what is given. Deliveries under way go to the new URL with their next try."""
    await _may_change(tenant, store)
    if asked.url is not None:
        asked = asked.model_copy(update={"url": await outside.reach.checked_url(asked.url, settings.timing)})
    return (await _changed(webhook.id, lambda known: known.changed(asked), tenant, store)).shown


@router.delete("/{webhook_id}")
async def delete(webhook: OwnWebhook, tenant: Tenant, store: TheStore) -> WebhookDeleted:
    """Remove it with its deliveries: it is told nothing more."""
    await _may_change(tenant, store)
    await store.webhooks.remove(tenant, webhook.id)
    await store.submissions.forget(webhook.id)
    return WebhookDeleted(id=webhook.id)


@router.post("/{webhook_id}/rotate_secret")
async def rotate_secret(
    webhook: OwnWebhook, tenant: Tenant, store: TheStore, settings: TheSettings, asked: RotatedSecret | None = None
) -> WebhookWithSecret:
    """Give it a new secret, which is in this answer and in no other."""
    await _may_change(tenant, store)
    keeps = asked is not None and asked.keep_old_secret_active_for_24_hours
    keep = settings.timing.webhook_old_secret if keeps else 0.0
    rotated = await _changed(webhook.id, lambda known: known.rotated(keep_old_for=keep), tenant, store)
    await store.submissions.forget(webhook.id)  # which was told the old one
    return rotated.shown_with_secret


@router.post("/{webhook_id}/test")
async def test(
    webhook: OwnWebhook, tenant: Tenant, store: TheStore, outside: TheOutside, asked: AskedTest | None = None
) -> WebhookTested:
    """Send a sample at once, once, and say how it was answered. The job that it names does not exist."""
    await _may_change(tenant, store)
    event = (asked or AskedTest()).event_type
    now, id = int(time.time()), f"whd-test-{secrets.token_hex(13)}"
    answered = await send(outside, webhook, id, event, f"ftjob-{'0' * 26}", created_at=now, now=now)
    if answered.status is None:
        raise WebhookUnanswered(f"The webhook did not answer: {answered.error}.")
    return WebhookTested(webhook_endpoint_id=webhook.id, event_type=event, status_code=answered.status)


@router.get("/{webhook_id}/deliveries")
async def deliveries(
    webhook: OwnWebhook,
    tenant: Tenant,
    store: TheStore,
    after: After = None,
    limit: Limit = 20,
    status: Annotated[DeliveryStatus | None, Query(description="only those")] = None,
) -> Page[Delivery]:
    """What it was told, and is to be told: of the newest jobs first. What came through stays for three
    days, what was given up for thirty."""
    start = cursor(after, "whd")
    found, more = await store.webhooks.deliveries(tenant, webhook.id, after=start, limit=limit, status=status)
    return page(found, more)


@router.post("/{webhook_id}/deliveries/resend")
async def resend_failed(webhook: OwnWebhook, tenant: Tenant, store: TheStore) -> DeliveriesResent:
    """Send again what was given up, all of it: at once, and then for three days."""
    await _may_change(tenant, store)
    return DeliveriesResent(resent=await store.webhooks.resend_failed(tenant, webhook.id))


@router.post("/{webhook_id}/deliveries/{delivery_id}/resend")
async def resend(delivery_id: str, webhook: OwnWebhook, tenant: Tenant, store: TheStore) -> Delivery:
    """Send it again, whatever came of it: at once, and then for three days."""
    await _may_change(tenant, store)
    while (kept := await store.webhooks.delivery(tenant, delivery_id)) is not None:
        if kept.read is None or kept.read.webhook != webhook.id:
            break
        again = asked_again(kept.read)
        if await store.webhooks.settle(Due(tenant, delivery_id), kept.raw, again, seconds=0) is Answer.OK:
            return again
    raise NotFound(f"There is no delivery {delivery_id}.", param="delivery_id")


async def _may_change(tenant: str, store: TheStore) -> None:
    """Names are looked up for it, and messages sent. Raises RateLimited."""
    await store.rates.spend(tenant, "changes of webhooks", CHANGES_A_MINUTE)


async def _changed(
    id: str, alter: Callable[[WebhookRecord], WebhookRecord], tenant: str, store: TheStore
) -> WebhookRecord:
    changed = await store.webhooks.change(tenant, id, alter)
    if changed is None:
        raise _not_there(id)
    return changed


def _not_there(id: str) -> NotFound:
    return NotFound(f"There is no webhook {id}.", param="webhook_id")
