"""What a tenant may do and have, looked at before it does, or has, more."""

from services.api.auth import Caller
from services.contract.errors import InvalidRequest, QuotaExceeded
from services.store.store import Store


async def may_submit(caller: Caller, priority: int, store: Store) -> None:
    """Raises InvalidRequest, RateLimited."""
    if priority > caller.quota.max_priority:
        raise InvalidRequest(f"priority: yours is {caller.quota.max_priority} at most", param="priority")
    await store.rates.spend(caller.tenant, "submissions", caller.quota.submissions_per_minute)


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
