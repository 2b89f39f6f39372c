"""Images to labels, in the plain form: JSON with data URLs, or a form with files."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from services.api.asking import Seen, asked_model, seen
from services.api.deps import Tenant, ThePredictors, TheStore
from services.api.door import ImagesDoor
from services.api.forms import form_of
from services.api.images import from_data_url
from services.contract.errors import BadRequest, InvalidRequest
from services.contract.prediction import (
    IMAGE_BYTES,
    IMAGES,
    ImageError,
    ImagePrediction,
    LabelProbability,
    Predictions,
)

router = APIRouter(prefix="/v1/predictions", tags=["predictions"], route_class=ImagesDoor)


class PredictionRequest(BaseModel):
    """As JSON, or as a form with the fields `model`, `top_k` and any number of files called `image`."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="a model's id, or that of a checkpoint")
    images: Annotated[list[str], Field(min_length=1, max_length=IMAGES)] = Field(
        description="data URLs, as data:image/jpeg;base64,…"
    )
    top_k: Annotated[int, Field(ge=1, le=10_000)] = Field(5, description="labels that each image is answered with")


FORM = {
    "model": {"type": "string", "description": "a model's id, or that of a checkpoint"},
    "image": {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "maxItems": IMAGES,
        "description": "files of any format that is trained on",
    },
    "top_k": {"type": "integer", "minimum": 1, "description": "labels that each image is answered with"},
}
BODY: dict[str, Any] = form_of(FORM, required=["model", "image"])
BODY["requestBody"]["content"]["application/json"] = {"schema": PredictionRequest.model_json_schema()}


@dataclass(frozen=True)
class Asked:
    """Whichever way it came: the images with the names of their files."""

    model: str
    images: Sequence[tuple[str | None, bytes]]
    top_k: int


@router.post("", openapi_extra=BODY)
async def predict(request: Request, tenant: Tenant, store: TheStore, predictors: ThePredictors) -> Predictions:
    """What each image shows: labels with their probabilities, best first. One that cannot be read has an error in its
    place."""
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    asked = await (_of_form(request) if is_form else _of_json(request))
    model = await asked_model(asked.model, tenant, store)
    answers = await seen(model, [image for _, image in asked.images], asked.top_k, store, predictors)
    data = [_view(at, name, one) for at, ((name, _), one) in enumerate(zip(asked.images, answers, strict=True))]
    return Predictions(model=model.id, created=int(time.time()), data=data)


async def _of_json(request: Request) -> Asked:
    """Raises RequestValidationError, BadRequest."""
    try:
        body = PredictionRequest.model_validate(await request.json())
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON that can be read: {error}.") from None
    images = await asyncio.to_thread(
        lambda: [(None, from_data_url(url, f"images.{at}")) for at, url in enumerate(body.images)]
    )
    return Asked(model=body.model, images=images, top_k=body.top_k)


async def _of_form(request: Request) -> Asked:
    """Raises InvalidRequest, BadRequest."""
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise BadRequest("The form's charset must be utf-8.")
    await request.body()  # bounded
    try:
        form = await request.form(max_files=IMAGES, max_fields=8, max_part_size=IMAGE_BYTES)
    except MultiPartException as error:
        raise BadRequest(f"The form cannot be parsed: {error.message}") from None
    images: list[tuple[str | None, bytes]] = []
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name in ("image", "images", "image[]"):
            images.append((value.filename, await value.read()))
        elif isinstance(value, str) and name in ("model", "top_k"):
            fields[name] = value
        else:
            raise InvalidRequest(f"{name[:64]}: send model, top_k, and files called image", param=name[:64])
    await form.close()
    return _checked_form(fields, images)


def _checked_form(fields: dict[str, str], images: list[tuple[str | None, bytes]]) -> Asked:
    top_k = fields.get("top_k", "5")
    if "model" not in fields:
        raise InvalidRequest("model: required: a model's id", param="model")
    if not images:
        raise InvalidRequest("image: required: one or more files", param="image")
    if not (top_k.isascii() and top_k.isdigit() and len(top_k) <= 5 and 1 <= int(top_k) <= 10_000):
        raise InvalidRequest(f"top_k: {top_k[:32]!r} is no number from 1 to 10000", param="top_k")
    return Asked(model=fields["model"], images=images, top_k=int(top_k))


def _view(at: int, name: str | None, one: Seen) -> ImagePrediction:
    labels = [LabelProbability(label=guess.label, probability=guess.probability) for guess in one.guesses]
    error = ImageError(message=one.error) if one.error is not None else None
    return ImagePrediction(index=at, filename=name, labels=labels, error=error)
