"""What an ended job left moves to the store of bytes after a while, so that Redis does not grow for ever."""

import asyncio
from dataclasses import dataclass

from services.store import keys, places
from services.store.blobs import Blobs
from services.store.checkpoints import CheckpointRecord, Checkpoints
from services.store.commands import Redis, Value
from services.store.events import Events
from services.store.record import JobRecord
from services.store.scripts import Answer, Scripts

AT_ONCE = 20  # jobs in a pass, which may take no longer than the reaper's turn
PAGE = 1000  # entries of a stream that are read at once


@dataclass(frozen=True)
class History:
    """Events, series and checkpoints of ended jobs; each is whole in its new place before it leaves the old one."""

    redis: Redis
    scripts: Scripts
    blobs: Blobs
    events: Events
    checkpoints: Checkpoints

    async def due(self, before: int) -> list[str]:
        """Jobs that ended before so many Unix seconds, and whose history Redis still holds."""
        found = await self.redis.zrangebyscore(keys.ENDED, "-inf", f"({before}", 0, AT_ONCE)
        return [id.decode() for id in found]

    async def pass_over(self, job: str) -> None:
        """One of which there is no record any more."""
        await self.redis.zrem(keys.ENDED, job)

    async def put_away(self, record: JobRecord) -> None:
        """May be repeated. Raises OSError, RedisError."""
        place = places.history(record.tenant, record.id)
        moved: list[CheckpointRecord] = []
        if not record.is_put_away:  # else it was set aside since, and taken back
            await asyncio.to_thread(self.blobs.put, places.events(place), await self._entries(record.id))
            await asyncio.to_thread(self.blobs.put, places.series(place), await self._series(record.id))
            moved = await self.checkpoints.moved(record)
        more_keys = [keys.PUT_AWAY, keys.series(record.id), keys.checkpoints(record.id)]
        more_keys += [keys.checkpoint(record.id, known.number) for known in moved]
        args: list[Value] = [record.id, place]
        for known in moved:
            args += [known.number, known.model_dump_json()]
        answer, _ = await self.scripts("put_away", [*keys.of_job(record.id, record.tenant), *more_keys], args)
        if answer is Answer.GONE:  # deleted meanwhile
            for folder in places.of_job(record.tenant, record.id):
                await asyncio.to_thread(self.blobs.delete_folder, folder)

    async def _entries(self, job: str) -> bytes:
        """A line each, as `StreamEntry.line` has it."""
        lines, last = [], "0-0"
        while page := await self.events.since(job, last, limit=PAGE):
            lines += [entry.line for entry in page]
            last = page[-1].id
        return b"".join(lines)

    async def _series(self, job: str) -> bytes:
        return b"".join([piece async for piece in self.events.pieces(job)])
