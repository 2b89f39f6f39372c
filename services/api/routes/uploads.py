"""Uploads in parts, as OpenAI's: for files that no browser or proxy takes in one piece."""

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.api.deps import Tenant, TheCaller, TheListers, TheSettings, TheStore
from services.api.door import Door, StreamedDoor
from services.api.forms import Form, form_of, parse, too_large
from services.api.layouts import remove_drafts
from services.api.quotas import may_store, may_upload, uploading
from services.api.uploads import listed, refuse_without_room
from services.api.views import file_view
from services.contract.errors import ActionRefused, InvalidRequest, NotFound
from services.contract.ids import new_id
from services.contract.upload import PART_BYTES, PARTS, CompletedParts, NewUpload, Upload, UploadPart
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.pending import PendingUpload
from services.store.store import Store

router = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=Door)
parts = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=StreamedDoor)

FORM = form_of({"data": {"type": "string", "format": "binary"}}, required=["data"])


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
    id = new_id("part")
    place = Path(places.part(caller.tenant, upload.id, id)).name
    draft = await asyncio.to_thread(store.blobs.new_draft, caller.tenant, place)
    async with uploading(caller, request.app.state.uploads_under_way):
        try:
            form = await parse(request, draft, min(PART_BYTES, upload.announced.bytes), named="data")
            if form.filename is None or not form.ended:
                raise InvalidRequest("data: required, as a file of the form", param="data")
            await store.pending_uploads.add_part(upload, id, form.bytes)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    return UploadPart(id=id, created_at=upload.created_at, upload_id=upload.id)


@router.post("/{upload_id}/complete")
async def complete(
    asked: CompletedParts, upload: OwnUpload, caller: TheCaller, store: TheStore, listers: TheListers
) -> Upload:
    """Put the parts together, and list the file as any other. May be repeated."""
    if upload.status == "completed":
        return await _view(upload, store)
    _refuse_ended(upload)
    _refuse_parts(asked.part_ids, upload)
    draft = await asyncio.to_thread(store.blobs.new_draft, caller.tenant, secrets.token_hex(8))
    try:
        form = await asyncio.to_thread(_joined, upload, asked, draft, store.blobs)
        coming = await listed(form, store.blobs, listers, caller.tenant)
        async with store.turns.held(keys.files_turn(caller.tenant)):
            await may_store(caller, form.bytes, store)
            record = await coming.keep()
            await store.files.add(record)
    finally:
        remove_drafts(draft)
    await _end(upload, "completed", store, record.id)
    return await _view(await _own_upload(upload.id, caller.tenant, store), store)


@router.post("/{upload_id}/cancel")
async def cancel(upload: OwnUpload, store: TheStore) -> Upload:
    """Its parts go."""
    _refuse_ended(upload)
    await _end(upload, "cancelled", store)
    return await _view(await _own_upload(upload.id, upload.tenant, store), store)


def _refuse_ended(upload: PendingUpload) -> None:
    if upload.status != "pending":
        raise ActionRefused(f"The upload is {upload.status}.", current_status=upload.status, allowed_actions=[])


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


def _joined(upload: PendingUpload, asked: CompletedParts, draft: Path, blobs: Blobs) -> Form:
    """Raises InvalidRequest."""
    form, md5 = Form(draft, filename=upload.announced.filename, ended=True), hashlib.md5(usedforsecurity=False)
    with draft.open("wb") as whole:
        for id in asked.part_ids:
            with blobs.local(places.part(upload.tenant, upload.id, id)).open("rb") as part:
                while chunk := part.read(1 << 20):
                    whole.write(chunk)
                    form.sha256.update(chunk)
                    md5.update(chunk)
                    form.bytes += len(chunk)
    if asked.md5 is not None and md5.hexdigest() != asked.md5.lower():
        raise InvalidRequest("md5: it is not that of the parts together", param="md5")
    form.fields["layout"] = upload.announced.layout.model_dump_json()
    if after := upload.announced.expires_after:
        form.fields |= {"expires_after[anchor]": after.anchor, "expires_after[seconds]": str(after.seconds)}
    return form


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
