"""Uploads in parts, as OpenAI's: for files that no browser or proxy takes in one piece."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Request

from services.api.auth import Caller
from services.api.deps import Tenant, TheCaller, TheListers, TheSettings, TheStore
from services.api.door import Door, StreamedDoor
from services.api.drafts import drop, new_draft, writing
from services.api.forms import form_of, parse, too_large
from services.api.listers import Listers
from services.api.quotas import may_store, may_upload, uploading
from services.api.uploads import Whole, listed, refuse_without_room
from services.api.views import file_view
from services.contract.errors import ActionRefused, InvalidRequest, NotFound
from services.contract.ids import new_id
from services.contract.upload import PART_BYTES, PARTS, CompletedParts, NewUpload, Upload, UploadPart
from services.located import opened
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.pending import PendingUpload
from services.store.scripts import Answer
from services.store.store import Store

router = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=Door)
parts = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=StreamedDoor)

PART = {"type": "string", "format": "binary", "description": f"{PART_BYTES} bytes at most"}
FORM = form_of({"data": PART}, required=["data"])


async def _own_upload(upload_id: str, tenant: Tenant, store: TheStore) -> PendingUpload:
    found = await store.pending_uploads.owned_by(tenant, upload_id)
    if found is None:
        raise NotFound(f"There is no upload {upload_id}: it may be over a day old.", param="upload_id")
    return found


OwnUpload = Annotated[PendingUpload, Depends(_own_upload)]


@router.post("")
async def create(asked: NewUpload, caller: TheCaller, store: TheStore, settings: TheSettings) -> Upload:
    """Announce a file; then send its parts, in any order, and complete it."""
    if asked.bytes > settings.max_upload_bytes:
        raise too_large(settings.max_upload_bytes)
    await may_upload(caller, asked.bytes, store)
    await refuse_without_room(2 * asked.bytes, store.blobs)  # the parts, and the whole
    return await _view(await store.pending_uploads.new(caller.tenant, asked), store)


@parts.post("/{upload_id}/parts", openapi_extra=FORM)
async def add_part(request: Request, upload: OwnUpload, caller: TheCaller, store: TheStore) -> UploadPart:
    """The bytes of one part, 64 MiB at most, as the form's field `data`."""
    _refuse_ended(upload)
    if len(upload.parts) >= PARTS:
        raise InvalidRequest(f"part: an upload has {PARTS} parts at most", param="data")
    left = upload.announced.bytes - sum(upload.parts.values())
    await refuse_without_room(min(left, PART_BYTES), store.blobs)
    id, now = new_id("part"), int(time.time())
    name = places.part(caller.tenant, upload.id, id).rpartition("/")[2]
    draft = await asyncio.to_thread(store.blobs.new_draft, caller.tenant, name)
    async with uploading(caller, request.app.state.uploads_under_way):
        try:
            form = await parse(request, draft, min(PART_BYTES, left), named="data")
            if form.filename is None or not form.ended:
                raise InvalidRequest("data: required, as a file of the form", param="data")
            _refuse_late(await store.pending_uploads.add_part(upload, id, form.bytes), upload)
        except BaseException:
            await drop(draft, store.blobs)
            raise
    return UploadPart(id=id, created_at=now, upload_id=upload.id)


@router.post("/{upload_id}/complete")
async def complete(
    asked: CompletedParts,
    request: Request,
    upload: OwnUpload,
    caller: TheCaller,
    store: TheStore,
    listers: TheListers,
    settings: TheSettings,
) -> Upload:
    """Put the parts together, and list the file as any other. May be repeated."""
    async with (
        uploading(caller, request.app.state.uploads_under_way),
        store.turns.alone(keys.upload_turn(upload.id), seconds=3 * settings.timing.listing),
    ):
        upload = await _own_upload(upload.id, caller.tenant, store)
        if upload.status == "completed":
            return await _view(upload, store)
        _refuse_ended(upload)
        _refuse_parts(asked.part_ids, upload)
        file = f"file-{upload.id.removeprefix('upload-')}"  # the same, whoever tries again
        if await store.files.owned_by(caller.tenant, file) is None:
            await _make(file, asked, upload, caller, store, listers)
        await _end(upload, "completed", store, file)
        return await _view(await _own_upload(upload.id, caller.tenant, store), store)


@router.post("/{upload_id}/cancel")
async def cancel(upload: OwnUpload, store: TheStore, settings: TheSettings) -> Upload:
    """Its parts go."""
    async with store.turns.alone(keys.upload_turn(upload.id), seconds=settings.timing.listing):
        upload = await _own_upload(upload.id, upload.tenant, store)
        _refuse_ended(upload)
        await _end(upload, "cancelled", store)
        return await _view(await _own_upload(upload.id, upload.tenant, store), store)


async def _make(
    file: str, asked: CompletedParts, upload: PendingUpload, caller: Caller, store: Store, listers: Listers
) -> None:
    await refuse_without_room(upload.announced.bytes, store.blobs)
    async with new_draft(caller.tenant, store.blobs) as draft:
        whole = await _joined(upload, asked, draft, store.blobs)
        coming = await listed(whole, listers, caller.tenant)
        async with store.turns.held(keys.files_turn(caller.tenant)):
            await may_store(caller, whole.bytes, store)
            await coming.keep(store, file)


def _refuse_ended(upload: PendingUpload) -> None:
    if upload.status != "pending":
        raise ActionRefused(f"The upload is {upload.status}.", current_status=upload.status, allowed_actions=[])


def _refuse_late(answer: Answer, upload: PendingUpload) -> None:
    """What came while it ended, or too much together."""
    if answer is Answer.WAITS:
        raise too_large(upload.announced.bytes, "data")
    if answer is not Answer.OK:
        raise NotFound(f"The upload {upload.id} has ended.", param="upload_id")


def _refuse_parts(ids: Sequence[str], upload: PendingUpload) -> None:
    for id in ids:
        if id not in upload.parts:
            raise InvalidRequest(f"part_ids: {id!r} is no part of this upload", param="part_ids")
    if len(set(ids)) < len(ids):
        raise InvalidRequest("part_ids: a part stands there twice", param="part_ids")
    if (sent := sum(upload.parts[id] for id in ids)) != upload.announced.bytes:
        raise InvalidRequest(
            f"part_ids: they have {sent} bytes, and {upload.announced.bytes} were announced", param="part_ids"
        )


async def _joined(upload: PendingUpload, asked: CompletedParts, draft: str, blobs: Blobs) -> Whole:
    """Raises InvalidRequest."""
    announced, md5, sha256 = upload.announced, hashlib.md5(usedforsecurity=False), hashlib.sha256()
    async with writing(draft) as whole:
        for id in asked.part_ids:  # each by itself: others have use for the threads, too
            try:
                part = await asyncio.to_thread(blobs.where, places.part(upload.tenant, upload.id, id))
                await asyncio.to_thread(_append, part, whole, md5, sha256)
            except FileNotFoundError:
                raise InvalidRequest(f"part_ids: the bytes of {id} are gone: send it again", param="part_ids") from None
    if asked.md5 is not None and md5.hexdigest() != asked.md5.lower():
        raise InvalidRequest("md5: it is not that of the parts together", param="md5")
    expires_at = int(time.time()) + announced.expires_after.seconds if announced.expires_after else None
    filename = PurePath(announced.filename).name or "upload"
    return Whole(draft, filename, announced.bytes, sha256.hexdigest(), announced.layout, expires_at)


def _append(part: str, whole: BinaryIO, *digests: "hashlib._Hash") -> None:
    with opened(part) as source:
        while chunk := source.read(1 << 20):
            whole.write(chunk)
            for digest in digests:
                digest.update(chunk)


async def _end(upload: PendingUpload, status: str, store: Store, file: str | None = None) -> None:
    await store.pending_uploads.end(upload, status, file)
    for id in upload.parts:
        await asyncio.to_thread(store.blobs.delete, places.part(upload.tenant, upload.id, id))


async def _view(upload: PendingUpload, store: Store) -> Upload:
    file = await store.files.owned_by(upload.tenant, upload.file) if upload.file else None
    return Upload.model_validate(
        {
            "id": upload.id,
            "bytes": upload.announced.bytes,
            "created_at": upload.created_at,
            "expires_at": store.pending_uploads.expires_at(upload),
            "filename": upload.announced.filename,
            "status": upload.status,
            "file": file_view(file) if file else None,
        }
    )
