"""All that happens to a tenant's jobs, in one stream. It says where each event lies; the event stays with its job."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from services.store import keys
from services.store.commands import Redis, StreamEntries
from services.store.events import StreamEntry, order


@dataclass(frozen=True)
class FeedEntry:
    """`id` is its place in the feed; `event` is None once its job no longer has it."""

    id: str
    job: str
    event: StreamEntry | None

    @cached_property
    def data(self) -> str | None:
        """The event as clients get it, made once for all of them: as in the job's own stream, with the job's id."""
        return f'{{"fine_tuning_job_id":"{self.job}",{self.event.data[1:]}' if self.event else None


@dataclass(frozen=True)
class Feed:
    """One tenant's."""

    redis: Redis
    tenant: str

    @property
    def key(self) -> str:
        return keys.feed(self.tenant)

    async def since(self, after: str, *, limit: int) -> list[FeedEntry]:
        """Oldest first, what came after the id `after`."""
        return await self.entries(await self.redis.xrange(self.key, f"({after}", "+", count=limit))

    async def last(self) -> str:
        """The id of the newest entry; "0-0" if there never was one."""
        newest = await self.redis.xrevrange(self.key, count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def trimmed_to(self) -> str:
        """An id between the last entry that the cap pushed out and the first that is there; "0-0" if none was."""
        known = await self.redis.xinfo_stream(self.key)
        if known["entries-added"] == known["length"]:
            return "0-0"
        milliseconds, sequence = order(known["first-entry"][0].decode())
        return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**63}"

    async def entries(self, raws: StreamEntries) -> list[FeedEntry]:
        """With their events, which are asked for together."""
        places = [(id.decode(), fields[b"job"].decode(), fields[b"event"].decode()) for id, fields in raws]
        found = await self._events([(job, event) for _, job, event in places])
        return [FeedEntry(id, job, event) for (id, job, _), event in zip(places, found, strict=True)]

    async def _events(self, places: Sequence[tuple[str, str]]) -> list[StreamEntry | None]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for job, event in places:
                pipe.xrange(keys.events(job), event, event, count=1)
            return [StreamEntry.of(raws[0]) if raws else None for raws in await pipe.execute()]
