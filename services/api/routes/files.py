"""Files: uploads, listed and given back."""

import asyncio
from contextlib import suppress
from itertools import chain
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from services.api.deps import (
    After,
    Limit,
    Order,
    OwnFile,
    Tenant,
    TheCaller,
    TheListers,
    TheSettings,
    TheStore,
    TheThumbnails,
)
from services.api.door import Door, StreamedDoor
from services.api.downloads import download
from services.api.forms import form_of
from services.api.pages import LOOKED_AT, Page, cursor, page
from services.api.quotas import may_store, may_upload, uploading
from services.api.uploads import received
from services.api.views import file_view
from services.contract.contents import Split
from services.contract.errors import FileNeeded, NotFound
from services.contract.file import File, FileImage
from services.contract.report import DataReport
from services.contract.thumbnail import SIDES
from services.contract.units import Id, Object
from services.datasets.index import IndexedImage, image_at, images_from
from services.located import Where
from services.store import keys
from services.store.files import FileRecord
from services.store.store import Store

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=Door)
uploads = APIRouter(prefix="/v1/files", tags=["files"], route_class=StreamedDoor)

PAGE = 1000  # files in an answer

FORM = form_of(
    {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "zip, tar or tar.gz of label/image; or OpenAI's JSON lines of messages",
        },
        "purpose": {"type": "string", "enum": ["fine-tune"], "description": "the only one there is"},
        "layout": {"type": "string", "description": "what its folders mean, as JSON, where guessing would be wrong"},
        "expires_after[anchor]": {
            "type": "string",
            "enum": ["created_at"],
            "description": "from when: the file's making",
        },
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": 3600,
            "maximum": 2592000,
            "description": "s from then until the file goes by itself",
        },
    },
    required=["file", "purpose"],
)


@uploads.post("", openapi_extra=FORM)
async def upload(
    request: Request, caller: TheCaller, store: TheStore, listers: TheListers, settings: TheSettings
) -> File:
    """A zip, tar or tar.gz of labelled images, parsed as it streams and listed as it ends."""
    tenant = caller.tenant
    await may_upload(caller, int(request.headers.get("content-length") or 0), store)
    async with (
        uploading(caller, request.app.state.uploads_under_way),
        received(request, store.blobs, listers, tenant, settings.max_upload_bytes) as coming,
        store.turns.held(keys.files_turn(tenant)),  # nobody deletes equal bytes meanwhile
    ):
        await may_store(caller, coming.whole.bytes, store)
        record = await coming.keep(store)
    return file_view(record)


@router.get("")
async def files(
    tenant: Tenant,
    store: TheStore,
    after: After = None,
    limit: Limit = PAGE,
    order: Order = "desc",
    purpose: str | None = None,
) -> Page[File]:
    """Newest first, or oldest with `order=asc`."""
    if purpose not in (None, "fine-tune"):
        return page([])
    start, most = cursor(after, "file"), min(limit, PAGE)
    records, more = await store.files.page(tenant, after=start, limit=most, oldest_first=order == "asc")
    return page([file_view(record, in_a_list=True) for record in records], more)


class FileDeleted(BaseModel):
    id: Id
    object: Object[Literal["file"]] = "file"
    deleted: bool = Field(True, description="it is gone")


@router.delete("/{file_id}")
async def delete(record: OwnFile, store: TheStore) -> FileDeleted:
    """Its bytes go too, unless another of your files has the same. Refused while a job that has not ended needs it."""
    if job := await store.jobs.needing(record.tenant, record.id):
        raise FileNeeded(f"The job {job} needs this file: cancel it, or wait until it has ended.", job=job)
    async with store.turns.held(keys.files_turn(record.tenant)):
        await store.files.forget(record)  # counted once, whoever else deletes it now
    return FileDeleted(id=record.id)


@router.get("/{file_id}")
async def file(record: OwnFile) -> File:
    """An upload: what it holds, and what may be wrong with it."""
    return file_view(record)


@router.get("/{file_id}/report")
async def report(record: OwnFile, store: TheStore) -> DataReport:
    """What was understood of it, what was left out and why, and what looks wrong: from its listing, before training."""
    try:
        return await store.files.report(record)
    except FileNotFoundError:
        raise NotFound(f"{record.id} has no report: it was uploaded before there were any.", param="file_id") from None


@router.get("/{file_id}/images")
async def images(
    record: OwnFile,
    store: TheStore,
    after: After = None,
    limit: Limit = 20,
    label: Annotated[str | None, Query(description="only of this one")] = None,
    split: Annotated[Split | None, Query(description="only of this one")] = None,
) -> Page[FileImage]:
    """The images that it holds, by their paths."""
    try:
        index = await asyncio.to_thread(store.blobs.where, record.index)
        found, goes_on = await asyncio.to_thread(_some_images, index, after or "", limit, label, split)
    except FileNotFoundError:
        raise _gone(record) from None
    return page(found, goes_on is not None, last_id=goes_on)


@router.get("/{file_id}/images/{path:path}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def thumbnail(
    record: OwnFile,
    path: str,
    store: TheStore,
    thumbnails: TheThumbnails,
    size: Annotated[int, Query(ge=1, le=SIDES[-1], description="of the longer side, pixels; the next of a few")] = 256,
) -> Response:
    """One of its images as a small JPEG, upright, whatever format it has."""
    image = await asyncio.to_thread(_any_image, record, path, store)
    if image is None:
        raise NotFound(f"{record.id} has no image {path}.", param="path")
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(await thumbnails.get(record, image, size, store), media_type="image/jpeg", headers=headers)


@router.get("/{file_id}/content", response_class=FileResponse)
async def content(request: Request, record: OwnFile, store: TheStore) -> Response:
    """The bytes as they were uploaded."""
    try:
        return await download(await asyncio.to_thread(store.blobs.where, record.upload), record.filename, request)
    except FileNotFoundError:
        raise _gone(record) from None


def _gone(record: FileRecord) -> NotFound:
    return NotFound(f"The bytes of {record.id} are no longer in the file store.", param="file_id")


def _some_images(
    index: Where, after: str, limit: int, label: str | None, split: Split | None
) -> tuple[list[FileImage], str | None]:
    """And the path to go on after, if there are more."""
    found: list[FileImage] = []
    last = after
    for number, image in enumerate(images_from(index, after)):
        if len(found) == limit or number == LOOKED_AT:
            return found, last
        last = image.path
        if label in (None, image.label) and split in (None, image.split):
            found.append(
                FileImage(id=image.path, label=image.label, split=image.split, bytes=image.size, sha256=image.sha256)
            )
    return found, None


def _any_image(record: FileRecord, path: str, store: Store) -> IndexedImage | None:
    """In the file's own index, or in one by another layout, which a job may have stated."""
    others = (place for place in store.blobs.beginning_with(record.upload) if place.endswith(".index"))
    for place in chain([record.index], others):
        with suppress(FileNotFoundError):
            if image := image_at(store.blobs.where(place), path):
                return image
    return None
