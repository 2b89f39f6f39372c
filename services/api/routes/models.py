"""Models: what succeeded jobs leave."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from services.api.deps import Tenant, TheStore
from services.api.door import Door
from services.api.downloads import Download
from services.contract.errors import InvalidRequest, NotFound
from services.contract.ids import job_of_model
from services.contract.recipe import Export

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Door)


@router.get("/{model_id}/content", response_class=FileResponse)
async def content(
    model_id: str, tenant: Tenant, store: TheStore, format: Annotated[Export, Query()] = "pt"
) -> Response:
    """A model, in one of the forms that its job exported.

    `pt`: a state dict for `torchvision.models.resnet18(num_classes=N)`; `safetensors`: its head; `onnx`: a graph from
    an image's pixels to probabilities; `zip`: that graph with its labels, a card and a script.
    """
    record = await store.jobs.owned_by(tenant, job_of_model(model_id))
    result = record.result if record else None
    if record is None or result is None or result.model != model_id:
        raise NotFound(f"There is no model {model_id}.", param="model_id")
    place = result.exports.get(format)
    if place is None:
        made = ", ".join(sorted(result.exports))
        raise InvalidRequest(f"format: the job exported {made}; ask for {format} in its `export`", param="format")
    try:
        path = await asyncio.to_thread(store.blobs.local, place)
    except FileNotFoundError:
        raise NotFound(f"The bytes of {model_id} are no longer in the file store.", param="model_id") from None
    return Download(path, f"{record.id}.{format}")
