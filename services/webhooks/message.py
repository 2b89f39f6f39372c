"""A message to a webhook: its body is OpenAI's, its signature that of Standard Webhooks."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook as Signer

from services import __version__
from services.contract.webhook import EventType
from services.store.webhooks import WebhookRecord
from services.webhooks.outside import Answered, Outside


async def send(
    outside: Outside, webhook: WebhookRecord, id: str, event: EventType, job: str, *, created_at: int, now: int
) -> Answered:
    """`now` is Unix time, s, by a clock that its receiver shares: a message that is five minutes old is refused."""
    event_id = f"evt-{job.removeprefix('ftjob-')}"
    said = {"id": event_id, "object": "event", "type": event, "created_at": created_at, "data": {"id": job}}
    body = json.dumps(said)
    headers = {
        "content-type": "application/json",
        "user-agent": f"Headway/{__version__}",
        "webhook-id": id,
        "webhook-timestamp": str(now),
        "webhook-signature": _signature(webhook.secrets_at(now), id, now, body),
    }
    return await outside.post(webhook.url, headers, body.encode())


def _signature(secrets: Sequence[str], id: str, now: int, body: str) -> str:
    at = datetime.fromtimestamp(now, UTC)
    return " ".join(Signer(secret).sign(id, at, body) for secret in secrets)
