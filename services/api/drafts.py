"""What comes in, before it has its place. All waiting for the store of bytes is a thread's."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import BinaryIO

import anyio

from services.located import written
from services.store.blobs import Blobs


@asynccontextmanager
async def new_draft(tenant: str, blobs: Blobs) -> AsyncIterator[str]:
    """Where to write it; what is not kept within is gone afterwards, with what was made beside it."""
    draft = await asyncio.to_thread(blobs.new_draft, tenant, secrets.token_hex(8))
    try:
        yield draft
    finally:
        await drop(draft, blobs)


async def drop(draft: str, blobs: Blobs) -> None:
    """Also where the request was cancelled. What a store that is away keeps of it is swept."""
    with anyio.CancelScope(shield=True), suppress(OSError):
        await asyncio.to_thread(blobs.drop_draft, draft)


@asynccontextmanager
async def writing(draft: str) -> AsyncIterator[BinaryIO]:
    """As `located.written`."""
    file = written(draft)
    writer = await asyncio.to_thread(file.__enter__)
    try:
        yield writer
    except BaseException as error:
        file.__exit__(type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(file.__exit__, None, None, None)
