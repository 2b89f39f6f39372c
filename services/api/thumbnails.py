"""Draws thumbnails (see `services.pictures`): each once, kept beside its file's bytes, and gone with them."""

import asyncio
from contextlib import suppress

from services.api.readers import NoAnswer, ReaderProcesses
from services.contract.errors import STORE_AWAY, ImageUnreadable, StoreUnavailable
from services.contract.thumbnail import SIDES, Thumbnail, ThumbnailOrder
from services.contract.timing import Timing
from services.datasets.index import IndexedImage
from services.store import places
from services.store.files import FileRecord
from services.store.store import Store

ROOM = 1024**3  # bytes that are left to uploads and models: with less, thumbnails are not kept


class Thumbnails(ReaderProcesses):
    def __init__(self, timing: Timing) -> None:
        super().__init__("services.pictures", timing.thumbnail)

    async def get(self, record: FileRecord, image: IndexedImage, size: int, store: Store) -> bytes:
        """JPEG, upright, its longer side `size` pixels or the next of SIDES. Raises ImageUnreadable."""
        side = next(side for side in SIDES if side >= size)
        place = places.thumbnail(record.upload, image.sha256, side)
        with suppress(FileNotFoundError):
            return await asyncio.to_thread(store.blobs.get, place)
        jpeg = await self._drawn(record, image, side, store)
        with suppress(OSError):  # a full disk costs the next one's time
            if await asyncio.to_thread(store.blobs.free) < ROOM:
                return jpeg
            await asyncio.to_thread(store.blobs.put, place, jpeg)
            if await store.files.owned_by(record.tenant, record.id) is None:  # deleted meanwhile
                await asyncio.to_thread(store.blobs.delete, place)
        return jpeg

    async def _drawn(self, record: FileRecord, image: IndexedImage, side: int, store: Store) -> bytes:
        try:
            archive = await asyncio.to_thread(store.blobs.where, record.data)
            order = ThumbnailOrder(archive=archive, image=list(image), side=side)
            drawn = Thumbnail.model_validate_json(await self.ask(record.tenant, order.model_dump_json()))
        except FileNotFoundError:
            raise ImageUnreadable(f"{image.path} cannot be shown: its file's bytes are gone.") from None
        except NoAnswer as reason:
            raise ImageUnreadable(f"{image.path} cannot be shown: {reason}.") from None
        if drawn.away:
            raise StoreUnavailable(STORE_AWAY)
        if drawn.refusal is not None:
            raise ImageUnreadable(f"{image.path} cannot be shown: {drawn.refusal}.")
        return drawn.jpeg
