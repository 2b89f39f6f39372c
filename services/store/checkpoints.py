"""Checkpoints: the head's safetensors, in Redis while small, else in the file store."""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel
from redis.exceptions import OutOfMemoryError

from services.contract.lines import CheckpointLine
from services.contract.progress import CheckpointMetrics
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.commands import Redis, Value
from services.store.leases import Claim, Fenced, TenantWaits, write
from services.store.reading import readable
from services.store.record import JobRecord
from services.store.scripts import Scripts

INLINE = 1_000_000  # bytes; beyond, they go to the file store and only name and hash stay in Redis


class CheckpointRecord(BaseModel):
    """What the index holds of a checkpoint."""

    number: int
    created_at: int
    sha256: str
    bytes: int
    best: bool
    metrics: CheckpointMetrics
    stored_at: str | None = None


@dataclass(frozen=True)
class Checkpoints:
    redis: Redis
    scripts: Scripts
    blobs: Blobs

    async def put(self, claim: Claim, line: CheckpointLine, content: bytes, created_at: int) -> None:
        """Store one, drop what `keep` no longer covers. May be repeated.

        Raises Fenced, TenantWaits, OutOfMemoryError.
        """
        place = None
        if len(content) > INLINE:
            place = places.checkpoint(claim.tenant, claim.job, claim.fence, line.number)
            await asyncio.to_thread(self.blobs.put, place, content)
        known = CheckpointRecord(
            number=line.number,
            created_at=created_at,
            sha256=line.sha256,
            bytes=len(content),
            best=line.best,
            metrics=line.metrics,
            stored_at=place,
        )
        surplus = self._surplus([*await self.all(claim.job), known], keep=claim.spec.checkpoints.keep)
        more_keys = [keys.checkpoints(claim.job), keys.checkpoint(claim.job, line.number)]
        more_keys += [keys.checkpoints_stored(claim.tenant)]
        more_keys += [keys.checkpoint(claim.job, old.number) for old in surplus]
        args: list[Value] = [line.number, line.metrics.step, known.model_dump_json(), b"" if place else content]
        args += [len(content), sum(old.bytes for old in surplus), *(old.number for old in surplus)]
        try:
            await write(self.scripts, "checkpoint", claim, args, more_keys=more_keys)
        except (Fenced, TenantWaits, OutOfMemoryError):
            # Unless a first try was taken and its answer lost: then the index names it.
            if place and all(known.stored_at != place for known in await self.all(claim.job)):
                await asyncio.to_thread(self.blobs.delete, place)
            raise
        for old in surplus:
            if old.stored_at:
                await asyncio.to_thread(self.blobs.delete, old.stored_at)

    async def moved(self, record: JobRecord) -> list[CheckpointRecord]:
        """Those of an ended job that were in Redis, as they are known in the file store, where they lie now too."""
        moved = []
        for known in await self.all(record.id):
            content = await self._content(record.id, known) if known.stored_at is None else None
            if content is not None:
                place = places.checkpoint(record.tenant, record.id, record.fence, known.number)
                await asyncio.to_thread(self.blobs.put, place, content)
                moved.append(known.model_copy(update={"stored_at": place}))
        return moved

    async def all(self, job: str) -> list[CheckpointRecord]:
        """By number."""
        found = await self.scripts.persistently(lambda: self.redis.zrange(keys.checkpoints(job), 0, -1))
        return list(readable(CheckpointRecord, found))

    async def get(self, job: str, number: int) -> tuple[CheckpointRecord, bytes] | None:
        """What is known and the bytes; None where it is not there, or is not what its hash says."""
        known, content = await self._read(job, number)
        if content is None:
            known, content = await self._read(job, number)  # it was put away in between
        if known is None or content is None or hashlib.sha256(content).hexdigest() != known.sha256:
            return None
        return known, content

    async def _read(self, job: str, number: int) -> tuple[CheckpointRecord | None, bytes | None]:
        known = next((known for known in await self.all(job) if known.number == number), None)
        return known, await self._content(job, known) if known else None

    async def newest(self, job: str) -> tuple[CheckpointRecord, bytes] | None:
        """The last one that is whole: where a damaged one lies, the one before it."""
        for known in reversed(await self.all(job)):
            found = await self.get(job, known.number)
            if found is not None:
                return found
        return None

    async def _content(self, job: str, known: CheckpointRecord) -> bytes | None:
        if known.stored_at is None:
            key = keys.checkpoint(job, known.number)
            return await self.scripts.persistently(lambda: self.redis.get(key))
        with suppress(FileNotFoundError):
            return await asyncio.to_thread(self.blobs.get, known.stored_at)
        return None

    @staticmethod
    def _surplus(all: list[CheckpointRecord], *, keep: int) -> list[CheckpointRecord]:
        """All but the first, the last `keep`, and the latest that was best."""
        best = [known.number for known in all if known.best][-1:]
        kept = {all[0].number, *best, *(known.number for known in all[-keep:])}
        return [known for known in all if known.number not in kept]
