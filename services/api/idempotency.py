"""A submission that comes twice makes one job: by its Idempotency-Key, or as a retry that the openai package marks.

That package retries a POST by itself, without a key, but counts its tries in `x-stainless-retry-count`. Such a retry
gets the job of its first try while nobody has read that job: who has can only mean another one.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Response

from services.contract.errors import IdempotencyGone, InFlight, InvalidRequest, QuotaExceeded
from services.contract.ids import new_id
from services.contract.job import Job
from services.contract.timing import Timing
from services.store.store import Store
from services.store.submissions import GONE, Reservation, Submissions

KEY_CAP = 255  # characters


async def once(
    make: Callable[[str], Awaitable[Job]],
    headers: Mapping[str, str],
    body: Any,
    tenant: str,
    store: Store,
    timing: Timing,
) -> Job | Response:
    """What `make` gives for the id of this submission's job, or what the first try was told.

    Where Redis fails in between, the reservation stays, and the next try makes the same job. Raises InFlight,
    IdempotencyGone, InvalidRequest.
    """
    reservation = await _reserve(headers, body, tenant, store.submissions, timing)
    if reservation is None:
        return await make(new_id("ftjob"))
    if reservation.answer is not None:
        if reservation.answer == GONE or await store.jobs.get(reservation.job) is None:
            raise IdempotencyGone("The job of this Idempotency-Key was deleted: submit under another key.")
        return Response(reservation.answer, media_type="application/json", headers={"Idempotent-Replayed": "true"})
    try:
        job = await make(reservation.job)
    except (InvalidRequest, QuotaExceeded):
        await store.submissions.release(reservation)
        raise
    await store.submissions.remember(reservation, job.model_dump_json())
    return job


async def _reserve(
    headers: Mapping[str, str], body: Any, tenant: str, submissions: Submissions, timing: Timing
) -> Reservation | None:
    """None for a submission that carries neither mark."""
    digest = _sha256(json.dumps(body, sort_keys=True))
    if (key := headers.get("idempotency-key")) is not None:
        return await _by_key(key, digest, tenant, submissions, timing)
    if re.fullmatch("[0-9]{1,3}", tries := headers.get("x-stainless-retry-count", "")):
        name = _sha256(f"{headers.get('authorization')} {digest}")
        return await submissions.by_body(tenant, name, digest, seconds=timing.submission_by_body, anew=int(tries) == 0)
    return None


async def _by_key(key: str, digest: str, tenant: str, submissions: Submissions, timing: Timing) -> Reservation:
    if not 0 < len(key) <= KEY_CAP:
        raise InvalidRequest(f"Idempotency-Key: between 1 and {KEY_CAP} characters", param="Idempotency-Key")
    reservation = await submissions.by_key(tenant, _sha256(key), digest, seconds=timing.submission_by_key)
    if reservation is None:
        raise InvalidRequest("Idempotency-Key: it was used with another body", param="Idempotency-Key")
    if reservation.answer is None and not reservation.is_first and reservation.age < timing.submission_given_up:
        raise InFlight("A submission with this Idempotency-Key is under way; try again in a moment.")
    return reservation


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
