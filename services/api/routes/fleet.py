"""The fleet: the workers that live."""

from fastapi import APIRouter

from services.api.deps import Tenant, TheKeys, TheStore
from services.api.pages import Page, page
from services.contract.errors import Forbidden, NotFound
from services.contract.job import Worker

router = APIRouter(prefix="/v1/workers", tags=["fleet"])


@router.get("")
async def workers(tenant: Tenant, store: TheStore) -> Page[Worker]:
    """Who works on what, with each one's preflight. A job of another tenant is not named."""
    return page([await _without_strange_job(store, tenant, worker) for worker in await store.workers.all()])


@router.post("/{worker_id}/drain")
async def drain(worker_id: str, tenant: Tenant, store: TheStore, keys: TheKeys) -> Worker:
    """Ask a worker to hand its job on after a checkpoint, and to end. With keys set, only a SIGTERM does."""
    if keys is not None:
        raise Forbidden("The workers are shared by all tenants: a key does not give the right to drain one.")
    if not await store.workers.ask_to_drain(worker_id):
        raise NotFound(f"There is no worker {worker_id}.", param="worker_id")
    found = [worker for worker in await store.workers.all() if worker.id == worker_id]
    if not found:
        raise NotFound(f"There is no worker {worker_id}.", param="worker_id")
    return await _without_strange_job(store, tenant, found[0])


async def _without_strange_job(store: TheStore, tenant: str, worker: Worker) -> Worker:
    if worker.job is None or await store.jobs.owned_by(tenant, worker.job):
        return worker
    return worker.model_copy(update={"job": None})
