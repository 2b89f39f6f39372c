"""The fleet: the workers that live, and who adds and drains them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.api.deps import Tenant, TheStore
from services.api.door import Door
from services.api.pages import Page, page
from services.contract.errors import NotFound
from services.contract.fleet import AutoscalerReport, ForgottenTenant, Queue, Worker
from services.keysfile import TENANT
from services.store.forgetting import forget_tenant
from services.store.workers import Drain

router = APIRouter(prefix="/v1", tags=["fleet"], route_class=Door)


@router.get("/workers")
async def workers(tenant: Tenant, store: TheStore) -> Page[Worker]:
    """Who works on what, with each one's preflight. A job of another tenant is not named."""
    return page([await _without_foreign_job(store, tenant, worker) for worker in await store.workers.all()])


@router.post("/workers/{worker_id}/drain")
async def drain(worker_id: str, tenant: Tenant, store: TheStore, after_job: Annotated[bool, Query()] = False) -> Worker:
    """Ask a worker to hand its job on after a checkpoint, and to end; with `after_job`, to finish its job first.

    Workers are shared by all tenants: a key needs the right to operate.
    """
    if not await store.workers.ask_to_drain(worker_id, Drain.AFTER_JOB if after_job else Drain.NOW):
        raise NotFound(f"There is no worker {worker_id}.", param="worker_id")
    found = [worker for worker in await store.workers.all() if worker.id == worker_id]
    if not found:
        raise NotFound(f"There is no worker {worker_id}.", param="worker_id")
    return await _without_foreign_job(store, tenant, found[0])


@router.delete("/tenants/{name}")
async def forget(
    name: Annotated[str, Path(pattern=TENANT, description="revoke its keys first")], tenant: Tenant, store: TheStore
) -> ForgottenTenant:
    """All that a tenant has, its jobs, models and files. A key needs the right to operate."""
    return await forget_tenant(store, name)


@router.get("/queue")
async def queue(tenant: Tenant, store: TheStore) -> Queue:
    """Of all tenants: it says how long a wait may be, and for whom."""
    return Queue(queued=await store.jobs.waiting(), running=await store.jobs.running())


@router.get("/autoscaler")
async def autoscaler(tenant: Tenant, store: TheStore) -> AutoscalerReport:
    """What the autoscaler saw on its last look, what it decided, and why. `alive` is false where none runs."""
    return await store.autoscaling.read()


async def _without_foreign_job(store: TheStore, tenant: str, worker: Worker) -> Worker:
    hidden = {
        name: None
        for name in ("job", "helps")
        if (id := getattr(worker, name)) is not None and not await store.jobs.owned_by(tenant, id)
    }
    return worker.model_copy(update=hidden)
