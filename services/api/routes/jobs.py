"""Fine-tuning jobs: submitted, looked at, wished upon; their metrics and checkpoints."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.datastructures import QueryParams

from services import tracing
from services.api.deps import After, Limit, OwnJob, Tenant, TheCaller, TheListers, TheSettings, TheStore, Watching
from services.api.door import Door
from services.api.idempotency import JOB, Submission, once
from services.api.judged import JudgedFilter, judged_page
from services.api.layouts import laid_out
from services.api.pages import Page, cursor, page
from services.api.quotas import may_submit, queue_is_full
from services.api.series import MOST, JobMetrics, in_csv, in_json
from services.api.submission import resolve
from services.api.views import checkpoint_view, job_view
from services.api.waiting import workers_for
from services.contract.asked import CreateJob
from services.contract.errors import ActionRefused, InvalidRequest, NotFound
from services.contract.evaluation import Evaluation, JudgedImage
from services.contract.ids import checkpoint_number
from services.contract.job import Checkpoint, Job
from services.contract.transitions import Action, Status, allowed_actions
from services.contract.units import Id, Object
from services.located import read_all
from services.store import places
from services.store.files import FileRecord
from services.store.record import JobRecord
from services.store.store import Store

T = TypeVar("T")

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=Door)


@router.post("", response_model=Job)
async def create(
    asked: CreateJob,
    request: Request,
    caller: TheCaller,
    store: TheStore,
    listers: TheListers,
    settings: TheSettings,
) -> Any:
    """Submit a job: OpenAI's form, or the plain one. With an `Idempotency-Key`, a repeat gets the first answer."""
    body, tenant = await request.json(), caller.tenant
    await may_submit(caller, asked.priority, store)

    async def make(id: str) -> Job:
        training = await _file(store, tenant, asked.training_file, "training_file")
        training = await laid_out(training, asked.layout, store, listers)
        validation = asked.validation_file and await _file(store, tenant, asked.validation_file, "validation_file")
        spec, warnings = resolve(asked, body, training, validation or None, settings)
        if not await store.jobs.create(id, tenant, spec, warnings=warnings, quota=caller.quota, trace=tracing.here()):
            raise queue_is_full(caller)
        record = await _found(store, id)
        await store.hints.publish(record.kind)
        return await _view(store, record)

    async def is_there(id: str) -> bool:
        return await store.jobs.get(id) is not None

    return await once(make, is_there, Submission(JOB, request.headers, body, tenant), store, settings.timing)


@router.get("")
async def jobs(
    tenant: Tenant, store: TheStore, request: Request, watching: Watching, after: After = None, limit: Limit = 20
) -> Page[Job]:
    """Newest first. `metadata[name]=value` filters, as in OpenAI's; `metadata=null` are those that have none."""
    wanted, start = _metadata(request.query_params), cursor(after, "ftjob")
    records, more = await store.jobs.page(tenant, after=start, limit=min(limit, PAGE), metadata=wanted)
    if not watching:
        await store.submissions.are_read(record.id for record in records)
    workers = await workers_for(records, store)
    days = store.retention_days
    return page([job_view(record, days, workers, await store.jobs.place(record)) for record in records], more)


@router.get("/{job_id}")
async def job(record: OwnJob, store: TheStore) -> Job:
    """A job: where it is, why, and how good it is."""
    return await _view(store, record)


@router.post("/{job_id}/cancel")
async def cancel(record: OwnJob, store: TheStore) -> Job:
    """Stop it for good. A running trainer is stopped within 2 s; its last checkpoint stays."""
    return await _request(store, record, Action.CANCEL)


@router.post("/{job_id}/pause")
async def pause(record: OwnJob, store: TheStore) -> Job:
    """Stop it after a checkpoint, until it is resumed."""
    return await _request(store, record, Action.PAUSE)


@router.post("/{job_id}/resume")
async def resume(record: OwnJob, store: TheStore) -> Job:
    """Put a paused job back in the queue, at its old queue time."""
    return await _request(store, record, Action.RESUME)


PAGE = 100  # jobs in an answer


class JobDeleted(BaseModel):
    id: Id
    object: Object[Literal["fine_tuning.job"]] = "fine_tuning.job"
    deleted: bool = Field(True, description="it is gone")


@router.delete("/{job_id}")
async def delete(record: OwnJob, store: TheStore) -> JobDeleted:
    """Remove an ended job, its model, its checkpoints and its events. Its training data stays."""
    if Action.DELETE not in allowed_actions(record.status):
        raise _refused(Action.DELETE, record.status)
    await store.forget(record)
    return JobDeleted(id=record.id)


@router.get("/{job_id}/metrics", response_model=JobMetrics, responses={200: {"content": {"text/csv": {}}}})
async def metrics(
    record: OwnJob,
    store: TheStore,
    format: Literal["json", "csv"] = "json",
    points: Annotated[int, Query(ge=1, le=1_000_000, description="of JSON, at most; CSV has all")] = MOST,
) -> Any:
    """Each step's loss and each epoch's validation; in JSON thinned evenly where there are more than `points`."""
    if format == "csv":
        return StreamingResponse(in_csv(store.events, record), media_type="text/csv")
    found = await in_json(store.events, record, points)
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/{job_id}/evaluation", response_model=Evaluation)
async def evaluation(record: OwnJob, store: TheStore) -> Any:
    """The model on the images that were held out, with every label's scores; the job itself shows up to a hundred."""
    content = await _of_model(record, store, places.evaluation, "evaluation", read_all)
    return Response(content, media_type="application/json")


@router.get("/{job_id}/evaluation/images")
async def evaluation_images(
    record: OwnJob,
    store: TheStore,
    label: Annotated[str | None, Query(description="only those that have it")] = None,
    predicted: Annotated[str | None, Query(description="only those that are taken for it")] = None,
    wrong: Annotated[bool | None, Query(description="only the mistakes, or only the others")] = None,
    after: After = None,
    limit: Limit = 20,
) -> Page[JudgedImage]:
    """What the model does on each image that was held out, the worst first."""
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 10):
        raise InvalidRequest("after: no rank; give the last_id of the page before", param="after")
    wanted = JudgedFilter(label, predicted, wrong)
    rank = -1 if after is None else int(after)
    read = partial(judged_page, file=_judged_file(record), wanted=wanted, after=rank, limit=limit)
    found, goes_on = await _of_model(record, store, places.judged, "judged images", read)
    return page(found, goes_on is not None, last_id=goes_on)


@router.get("/{job_id}/checkpoints")
async def checkpoints(record: OwnJob, store: TheStore, after: After = None, limit: Limit = 10) -> Page[Checkpoint]:
    """Newest first."""
    all = [checkpoint_view(record, known) for known in reversed(await store.checkpoints.all(record.id))]
    if after is not None:
        number = checkpoint_number(after, record.id)
        if number is None:
            raise InvalidRequest("after: no checkpoint of this job; give the last_id of the page before", param="after")
        all = [c for c in all if (checkpoint_number(c.id, record.id) or 0) < number]
    return page(all[:limit], len(all) > limit)


@router.get("/{job_id}/checkpoints/{checkpoint}/content", response_class=Response)
async def checkpoint_content(record: OwnJob, checkpoint: str, store: TheStore) -> Response:
    """safetensors: fc.weight, fc.bias, their momentum, and the scaling before them; a sweep's under trial.N."""
    number = checkpoint_number(checkpoint, record.id)
    found = await store.checkpoints.get(record.id, number) if number is not None else None
    if found is None:
        raise NotFound(f"There is no checkpoint {checkpoint} of {record.id}.", param="checkpoint")
    headers = {
        "Content-Disposition": f'attachment; filename="{checkpoint}.safetensors"',
        "ETag": f'"{found[0].sha256}"',
    }
    return Response(found[1], media_type="application/octet-stream", headers=headers)


# --- what the routes share -----------------------------------------------------------------------------------------


async def _of_model(
    record: JobRecord, store: Store, place: Callable[[str], str], what: str, read: Callable[[str], T]
) -> T:
    """What is read of a file that lies with the job's model. Raises NotFound."""
    model = await store.models.of_job(record.tenant, record.id)
    with suppress(FileNotFoundError):
        if model is not None:
            where = await asyncio.to_thread(store.blobs.where, place(model.result.place))
            return await asyncio.to_thread(read, where)
    raise NotFound(f"{record.id} has no {what}: it has not succeeded, held nothing out, or its model was deleted.")


def _judged_file(record: JobRecord) -> str:
    """Which of its files holds what was held out."""
    evaluation, validation = record.latest.evaluation, record.spec.validation_file
    return validation if validation and evaluation and evaluation.split == "val" else record.spec.training_file


def _metadata(query: QueryParams) -> dict[str, str] | None:
    """Raises InvalidRequest."""
    wanted = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[") and name[-1] == "]"}
    if "metadata" not in query:
        return wanted or None
    if query["metadata"] != "null" or wanted:
        raise InvalidRequest("metadata: filter with metadata[name]=value, or with metadata=null", param="metadata")
    return {}


async def _file(store: Store, tenant: str, id: str, param: str) -> FileRecord:
    record = await store.files.owned_by(tenant, id)
    if record is None:
        raise InvalidRequest(f"{param}: there is no file {id}", param=param)
    return record


async def _request(store: Store, record: JobRecord, action: Action) -> Job:
    requested = await store.jobs.request(record.id, action)
    if requested is not None and not requested.taken:
        raise _refused(action, requested.status)
    found = await _found(store, record.id)
    if action is Action.RESUME:
        await store.hints.publish(found.kind)
    return await _view(store, found)


def _refused(action: Action, status: Status) -> ActionRefused:
    allowed = allowed_actions(status)
    return ActionRefused(
        f"A job that is {status} cannot be asked to {action}.", current_status=status, allowed_actions=allowed
    )


async def _found(store: Store, id: str) -> JobRecord:
    record = await store.jobs.get(id)
    if record is None:
        raise NotFound(f"There is no job {id}.")
    return record


async def _view(store: Store, record: JobRecord) -> Job:
    place, labels = await store.jobs.place(record), await store.labels(record)
    return job_view(record, store.retention_days, await workers_for([record], store), place, labels)
