"""What is asked for twice is made once, a job or a webhook: by its Idempotency-Key, or as a retry that the openai
package marks.

That package retries a POST by itself, without a key, but counts its tries in `x-stainless-retry-count`. Such a retry
gets what its first try made, a job while nobody has read it: who has can only mean another one.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Response
from pydantic import BaseModel

from services.contract.errors import IdempotencyGone, InFlight, InvalidRequest, QuotaExceeded
from services.contract.ids import new_id
from services.contract.timing import Timing
from services.store.store import Store
from services.store.submissions import GONE, Reservation, Submissions

T = TypeVar("T", bound=BaseModel)

KEY_CAP = 255  # characters


@dataclass(frozen=True)
class Kind:
    """Of what is made: how its ids begin, and how it is called."""

    prefix: str
    name: str

    def scoped(self, name: str) -> str:
        """The same key may stand before a job and a webhook."""
        return _sha256(name if self is JOB else f"{self.prefix} {name}")


JOB, WEBHOOK = Kind("ftjob", "job"), Kind("wh", "webhook")


@dataclass(frozen=True)
class Submission:
    """A request that makes something, as far as its repeats are concerned."""

    kind: Kind
    headers: Mapping[str, str]
    body: Any
    tenant: str

    @property
    def digest(self) -> str:
        return _sha256(json.dumps(self.body, sort_keys=True))


async def once(
    make: Callable[[str], Awaitable[T]],
    is_there: Callable[[str], Awaitable[bool]],
    submission: Submission,
    store: Store,
    timing: Timing,
) -> T | Response:
    """What `make` gives for the id of what is asked for, or what the first try was told.

    Where Redis fails in between, the reservation stays, and the next try makes the same. Raises InFlight,
    IdempotencyGone, InvalidRequest.
    """
    reservation = await _reserve(submission, store.submissions, timing)
    if reservation is None:
        return await make(new_id(submission.kind.prefix))
    if reservation.answer is not None:
        if reservation.answer == GONE or not await is_there(reservation.made):
            name = submission.kind.name
            raise IdempotencyGone(f"The {name} of this Idempotency-Key was deleted or changed: ask under another key.")
        return Response(reservation.answer, media_type="application/json", headers={"Idempotent-Replayed": "true"})
    try:
        made = await make(reservation.made)
    except (InvalidRequest, QuotaExceeded):
        await store.submissions.release(reservation)
        raise
    await store.submissions.remember(reservation, made.model_dump_json())
    return made


async def _reserve(submission: Submission, submissions: Submissions, timing: Timing) -> Reservation | None:
    """None for a submission that carries neither mark."""
    if "idempotency-key" in submission.headers:
        return await _by_key(submission, submissions, timing)
    if re.fullmatch("[0-9]{1,3}", tries := submission.headers.get("x-stainless-retry-count", "")):
        kind, digest = submission.kind, submission.digest
        name = kind.scoped(f"{submission.headers.get('authorization')} {digest}")
        seconds, anew = timing.submission_by_body, int(tries) == 0
        id = new_id(kind.prefix)
        return await submissions.by_body(submission.tenant, name, digest, id, seconds=seconds, anew=anew)
    return None


async def _by_key(submission: Submission, submissions: Submissions, timing: Timing) -> Reservation:
    if not 0 < len(key := submission.headers["idempotency-key"]) <= KEY_CAP:
        raise InvalidRequest(f"Idempotency-Key: between 1 and {KEY_CAP} characters", param="Idempotency-Key")
    name, id, seconds = submission.kind.scoped(key), new_id(submission.kind.prefix), timing.submission_by_key
    reservation = await submissions.by_key(submission.tenant, name, submission.digest, id, seconds=seconds)
    if reservation is None:
        raise InvalidRequest("Idempotency-Key: it was used with another body", param="Idempotency-Key")
    if reservation.answer is None and not reservation.is_first and reservation.age < timing.submission_given_up:
        raise InFlight("A submission with this Idempotency-Key is under way; try again in a moment.")
    return reservation


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
