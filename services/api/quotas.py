"""What a tenant may do and have, looked at before it does, or has, more."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.api.auth import Caller
from services.contract.errors import InvalidRequest, QuotaExceeded, RateLimited
from services.store.store import Store


async def may_submit(caller: Caller, priority: int, store: Store) -> None:
    """Raises InvalidRequest, RateLimited."""
    if priority > caller.quota.max_priority:
        raise InvalidRequest(f"priority: yours is {caller.quota.max_priority} at most", param="priority")
    await store.rates.spend(caller.tenant, "submissions", caller.quota.submissions_per_minute)


@asynccontextmanager
async def uploading(caller: Caller, under_way: Counter[str]) -> AsyncIterator[None]:
    """While an upload is under way. Raises RateLimited."""
    most = caller.quota.uploads_at_once
    if most and under_way[caller.tenant] >= most:
        raise RateLimited(f"{most} of your uploads are under way, as many as may.", retry_after=1)
    under_way[caller.tenant] += 1
    try:
        yield
    finally:
        under_way[caller.tenant] -= 1


async def may_upload(caller: Caller, declared: int, store: Store) -> None:
    """`declared` bytes, or 0 where nobody knows. Raises QuotaExceeded, RateLimited."""
    await store.rates.spend(caller.tenant, "uploads", caller.quota.uploads_per_minute)
    await may_store(caller, declared, store)


async def may_store(caller: Caller, more: int, store: Store) -> None:
    """Raises QuotaExceeded."""
    most = caller.quota.stored_bytes
    if most and (stored := await store.files.stored_bytes(caller.tenant)) + more > most:
        raise QuotaExceeded(f"Your files have {stored} bytes and may have {most}: delete some (DELETE /v1/files/…).")


def queue_is_full(caller: Caller) -> QuotaExceeded:
    return QuotaExceeded(
        f"{caller.quota.queued_jobs} of your jobs wait already, as many as may: wait for some, or cancel some."
    )
