"""A file's listings: one for each layout in which it is read, kept once."""

import asyncio

from services.api.drafts import new_draft
from services.api.listers import Listers
from services.contract.errors import InvalidArchive, InvalidRequest
from services.contract.file import Listed, ListingOrder
from services.contract.layout import Layout
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.files import FileRecord
from services.store.store import Store


async def laid_out(record: FileRecord, layout: Layout | None, store: Store, listers: Listers) -> FileRecord:
    """The file as a job's layout reads it, listed so if it was not yet. Raises InvalidRequest."""
    known = await store.files.laid_out(record, layout)
    if known is not None or layout is None:
        return known or record
    try:
        async with new_draft(record.tenant, store.blobs) as draft:
            data = await asyncio.to_thread(store.blobs.where, record.data)
            listed = await listers.list(record.tenant, ListingOrder(path=data, draft=draft, layout=layout))
            async with store.turns.held(keys.files_turn(record.tenant)):
                if await store.files.owned_by(record.tenant, record.id) is None:
                    raise FileNotFoundError(record.id)  # it was deleted meanwhile
                await asyncio.to_thread(keep_listing, listed, record.upload, layout, store.blobs)
    except FileNotFoundError:
        raise InvalidRequest("training_file: its bytes are gone", param="training_file") from None
    except InvalidArchive as error:
        raise InvalidRequest(f"layout: {error.message}", param="layout") from None
    return await laid_out(record, layout, store, listers)


def keep_listing(listed: Listed, upload: str, layout: Layout, blobs: Blobs) -> str:
    """Index and report, in their places; the index's."""
    assert listed.index is not None
    assert listed.report is not None
    index = places.index(upload, layout.digest)
    blobs.adopt(index, listed.index, anew=False)
    blobs.adopt(places.report(index), listed.report, anew=False)  # last: where it stands, the index does
    return index
