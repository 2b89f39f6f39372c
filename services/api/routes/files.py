"""Files: uploads, listed and given back."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from services.api.deps import After, Limit, OwnFile, Tenant, TheListers, TheSettings, TheStore
from services.api.door import Door, StreamedDoor
from services.api.pages import Page, cursor, page
from services.api.uploads import receive
from services.api.views import file_view
from services.contract.errors import NotFound
from services.contract.file import File

router = APIRouter(prefix="/v1/files", tags=["files"], route_class=Door)
uploads = APIRouter(prefix="/v1/files", tags=["files"], route_class=StreamedDoor)

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "zip, tar or tar.gz of label/image",
                        },
                        "purpose": {"type": "string", "enum": ["fine-tune"]},
                    },
                }
            }
        },
    }
}


@uploads.post("", openapi_extra=FORM)
async def upload(request: Request, tenant: Tenant, store: TheStore, listers: TheListers, settings: TheSettings) -> File:
    """A zip, tar or tar.gz of labelled images, parsed as it streams and listed as it ends."""
    record = await receive(request, store.blobs, listers, tenant, settings.max_upload_bytes)
    await store.files.add(record)
    return file_view(record)


@router.get("")
async def files(
    tenant: Tenant, store: TheStore, after: After = None, limit: Limit = 20, purpose: str | None = None
) -> Page[File]:
    """Newest first."""
    if purpose not in (None, "fine-tune"):
        return page([])
    records, more = await store.files.page(tenant, after=cursor(after, "file"), limit=limit)
    return page([file_view(record, in_a_list=True) for record in records], more)


@router.get("/{file_id}")
async def file(record: OwnFile) -> File:
    return file_view(record)


@router.get("/{file_id}/content")
async def content(record: OwnFile, store: TheStore) -> FileResponse:
    """The bytes as they were uploaded."""
    try:
        path = await asyncio.to_thread(store.blobs.local, record.upload)
    except FileNotFoundError:
        raise NotFound(f"The bytes of {record.id} are no longer in the file store.", param="file_id") from None
    return FileResponse(path, filename=record.filename, media_type="application/octet-stream")
