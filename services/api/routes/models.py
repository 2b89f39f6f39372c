"""Models: what succeeded jobs leave, and their checkpoints by name."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from services.api.deps import After, Limit, OwnModel, Tenant, TheStore
from services.api.door import Door
from services.api.downloads import download
from services.api.named import NamedModel, model_view
from services.api.pages import Page, page
from services.api.views import expires_at
from services.contract.errors import InvalidRequest, NotFound
from services.contract.ids import model_named
from services.contract.model import Model, ModelDeleted, Receipt
from services.contract.recipe import Export
from services.store.models import ModelRecord

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Door)

PAGE = 100  # models in an answer


@router.get("")
async def models(tenant: Tenant, store: TheStore, after: After = None, limit: Limit = PAGE) -> Page[Model]:
    """Newest first. A job's checkpoints are models too, and stand with their job."""
    start = _cursor(after)
    records, more = await store.models.page(tenant, after=start, limit=min(limit, PAGE))
    jobs = {record.id: await store.jobs.owned_by(tenant, record.job) for record in records}
    found = [NamedModel(record.id, job, record=record) for record in records if (job := jobs[record.id])]
    return page([model_view(model, expires_at(model.job, store.retention_days)) for model in found], more)


@router.get("/{model_id}")
async def model(model: OwnModel, store: TheStore) -> Model:
    """A model: its labels, how good it is, what it was made of; also a checkpoint, by `fine_tuned_model_checkpoint`."""
    return model_view(model, expires_at(model.job, store.retention_days), await model.labels(store))


@router.delete("/{model_id}")
async def delete(model: OwnModel, store: TheStore) -> ModelDeleted:
    """Remove a model and its files, for good. Its job stays, with its checkpoints."""
    await store.models.forget(_left_by_its_job(model))
    return ModelDeleted(id=model.id)


@router.get("/{model_id}/manifest")
async def manifest(model: OwnModel) -> Receipt:
    """The receipt: everything to train it again, by `headway replay` or otherwise."""
    return _left_by_its_job(model).result.receipt


@router.get("/{model_id}/content", response_class=FileResponse)
async def content(
    request: Request, model: OwnModel, store: TheStore, format: Annotated[Export, Query()] = "pt"
) -> Response:
    """A model, in one of the forms that its job exported.

    `pt`: a state dict for `torchvision.models.resnet18(num_classes=N)`; `safetensors`: its head; `onnx`: a graph from
    an image's pixels to probabilities; `zip`: that graph with its labels, a card and a script.
    """
    exports = _left_by_its_job(model).result.exports
    place = exports.get(format)
    if place is None:
        made = ", ".join(sorted(exports))
        raise InvalidRequest(f"format: the job exported {made}; ask for {format} in its `export`", param="format")
    try:
        where = await asyncio.to_thread(store.blobs.where, place)
        return await download(where, f"{model.job.id}.{format}", request)
    except FileNotFoundError:
        raise NotFound(f"The bytes of {model.id} are no longer in the file store.", param="model_id") from None


def _left_by_its_job(model: NamedModel) -> ModelRecord:
    if model.record is None:
        raise InvalidRequest(
            "model_id: it is a checkpoint: its bytes are at …/checkpoints/{id}/content of its job, and go with the job",
            param="model_id",
        )
    return model.record


def _cursor(after: str | None) -> str | None:
    """The job of the model that `after` names. Raises InvalidRequest."""
    named = model_named(after) if after else None
    if after and named is None:
        raise InvalidRequest("after: no model's id; give the last_id of the page before", param="after")
    return named.job if named else None
