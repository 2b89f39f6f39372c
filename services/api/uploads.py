"""An upload: received straight into the file store, listed as it ends, kept in its place."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from fastapi import Request

from services.api.drafts import new_draft
from services.api.forms import FORM_SLACK, Form, parse, refuse_unknown, too_large
from services.api.layouts import keep_listing
from services.api.listers import Listers
from services.contract.errors import BadRequest, InvalidRequest, StoreFull
from services.contract.file import Listed, ListingOrder
from services.contract.ids import new_id
from services.contract.layout import Layout
from services.store import places
from services.store.blobs import Blobs
from services.store.files import FileRecord
from services.store.store import Store


@dataclass(frozen=True)
class Whole:
    """An upload whose bytes have all come, to `draft`, and what was said of it."""

    draft: str
    filename: str
    bytes: int
    sha256: str
    layout: Layout
    expires_at: int | None


@dataclass(frozen=True)
class Coming:
    """An upload that has come, was checked and listed, and lies in no place yet."""

    whole: Whole
    listed: Listed
    tenant: str

    async def keep(self, store: Store, id: str | None = None) -> FileRecord:
        """In its place, with a record, which has this id if it shall have one. In the tenant's turn; where the store of
        bytes fails, nothing is left."""
        try:
            made = await asyncio.to_thread(_keep, self.whole, self.listed, store.blobs, self.tenant)
            record = replace(made, id=id or made.id)
            await store.files.add(record)
        except OSError:
            with suppress(OSError):
                await store.files.drop_unless_kept(self.tenant, places.upload(self.tenant, self.whole.sha256))
            raise
        return record


@asynccontextmanager
async def received(request: Request, blobs: Blobs, listers: Listers, tenant: str, cap: int) -> AsyncIterator[Coming]:
    """The upload; nothing that is not kept within is left behind, nor where it is refused.

    Raises BadRequest, InvalidRequest, InvalidArchive, TooLarge.
    """
    declared = int(request.headers.get("content-length") or 0)
    if declared > cap + FORM_SLACK:
        raise too_large(cap)
    await refuse_without_room(declared, blobs)
    async with new_draft(tenant, blobs) as draft:
        whole = _checked(await parse(request, draft, cap))
        yield await listed(whole, listers, tenant)


async def listed(whole: Whole, listers: Listers, tenant: str) -> Coming:
    """Raises InvalidRequest, InvalidArchive."""
    order = ListingOrder(path=whole.draft, draft=whole.draft, layout=whole.layout)
    return Coming(whole, await listers.list(tenant, order), tenant)


async def refuse_without_room(bytes: int, blobs: Blobs) -> None:
    """Raises StoreFull."""
    free = await asyncio.to_thread(blobs.free)
    if bytes > free:
        raise StoreFull(f"The file store has {free} bytes free, and the upload {bytes}.")


def _checked(form: Form) -> Whole:
    if not form.ended:
        raise BadRequest("The upload was cut off: the multipart body has no end.")
    for name in form.fields:
        refuse_unknown(name)
    if form.filename is None:
        raise InvalidRequest("file: required: a zip, tar or tar.gz of label/image", param="file")
    if (purpose := form.fields.get("purpose")) != "fine-tune":
        said = "required" if purpose is None else f"{purpose!r} is not known here"
        raise InvalidRequest(f'purpose: {said}: send "fine-tune"', param="purpose")
    return Whole(form.draft, form.filename, form.bytes, form.sha256.hexdigest(), form.layout, form.expires_at)


def _keep(whole: Whole, listed: Listed, blobs: Blobs, tenant: str) -> FileRecord:
    """All moves to where the upload's content says; equal bytes share a place."""
    assert listed.data is not None
    assert listed.contents is not None
    upload = places.upload(tenant, whole.sha256)
    data = upload if listed.data == whole.draft else places.plain_tar(upload)
    blobs.adopt(upload, whole.draft)
    if data != upload:
        blobs.adopt(data, listed.data)
    index = keep_listing(listed, upload, whole.layout, blobs)
    return FileRecord(
        id=new_id("file"),
        tenant=tenant,
        filename=whole.filename,
        bytes=whole.bytes,
        created_at=int(time.time()),
        sha256=whole.sha256,
        upload=upload,
        data=data,
        index=index,
        contents=listed.contents,
        expires_at=whole.expires_at,
        layout=whole.layout,
        findings=tuple(listed.findings),
    )
