"""A tenant that leaves: nothing of it stays but counts, and the hashes by which workers clean their caches."""

import asyncio
from contextlib import suppress

from redis.exceptions import ResponseError

from services.contract.fleet import ForgottenTenant
from services.contract.transitions import Action
from services.store import keys, places
from services.store.reading import some_ids
from services.store.store import Store

READ = 100  # records at once


async def forget_tenant(store: Store, tenant: str) -> ForgottenTenant:
    """Its jobs are cancelled, and go with their models, then its files. May be repeated, and is to be while trainers
    are still being stopped."""
    jobs, stopping = await _forget_jobs(store, tenant)
    files = 0
    if not stopping:
        async with store.turns.held(keys.files_turn(tenant)):
            files = await _forget_files(store, tenant)
        await store.redis.delete(keys.feed(tenant))
        for webhook in await store.webhooks.all(tenant):
            await store.submissions.forget(webhook.id)
        await store.webhooks.forget(tenant)
        for place in places.of_tenant(tenant):
            await asyncio.to_thread(store.blobs.delete_folder, place)
    return ForgottenTenant(tenant=tenant, jobs=jobs, files=files, stopping=stopping)


async def _forget_jobs(store: Store, tenant: str) -> tuple[int, int]:
    """How many went, and how many a worker still owns."""
    gone, stopping, after, more = 0, 0, None, True
    while more:
        ids, more = await some_ids(store.redis, keys.jobs_of(tenant), after=after, limit=READ)
        for id in ids:
            with suppress(ResponseError):  # of a record that cannot be read
                await store.jobs.request(id, Action.CANCEL)
            await store.submissions.forget(id)
            went = await store.jobs.forget(id, tenant)
            gone, stopping = gone + went, stopping + (not went)
        after = ids[-1] if ids else None
    return gone, stopping


async def _forget_files(store: Store, tenant: str) -> int:
    gone = 0
    while found := (await store.files.page(tenant, after=None, limit=READ))[0]:
        for record in found:
            await store.files.forget(record)
        gone += len(found)
    return gone
