"""A job's pass over its images, shared: which shards are free, who computes which, and what helpers have brought.

Rows are keyed by content and segments are whole or absent, so to do a shard twice is harmless: help needs no fence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel

from services.contract.timing import Timing
from services.store import keys
from services.store.commands import Redis, Value
from services.store.leases import Claim, write
from services.store.record import JobRecord, SharedPlan
from services.store.scripts import Answer, Scripts

MOST_HELPERS = 1000
OWNERS = "inf"  # the end of a lease that is the owner's


class Brought(BaseModel):
    """A shard's features, in the store of bytes: there whole, or not."""

    shard: int
    place: str
    crc32: int
    helper: str


class Wanted(Enum):
    """What a helper brings."""

    YES = "yes"
    NO = "no"  # someone brought it before
    GONE = "gone"  # the pass is over


@dataclass(frozen=True)
class News:
    """Of a pass: shards that helpers compute just now, what was brought since, and how many help."""

    leased: list[int]
    brought: list[Brought]
    helpers: int


class Shards:
    def __init__(self, redis: Redis, scripts: Scripts, timing: Timing) -> None:
        self._redis, self._scripts, self._timing = redis, scripts, timing

    # --- the owner's -------------------------------------------------------------------------------------------------

    async def share(self, claim: Claim, count: int, plan: str, size: int) -> None:
        """Open the pass: `count` shards of `size` images, whose plan lies at `plan`. Raises Fenced."""
        about = SharedPlan(place=plan, size=size).model_dump_json()
        await write(self._scripts, "share", claim, [count, about, self._kept], more_keys=_keys(claim.job))

    async def take(self, claim: Claim, shards: Sequence[int]) -> None:
        """The owner computes them. Raises Fenced."""
        args: list[Value] = [self._kept, *map(_member, shards)]
        await write(self._scripts, "take_shards", claim, args, more_keys=_keys(claim.job))

    async def end(self, claim: Claim) -> None:
        """Nobody needs to help any more. Raises Fenced."""
        await write(self._scripts, "take_shards", claim, [self._kept], more_keys=_keys(claim.job))

    async def news(self, claim: Claim, *, since: int) -> News:
        """`since`: how many were brought before."""

        async def read() -> News:
            seconds, micros = await self._redis.time()
            now = round(seconds * 1000 + micros / 1000)
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zrangebyscore(keys.shards(claim.job), f"({now}", f"({OWNERS}")
                pipe.lrange(keys.brought(claim.job), since, -1)
                pipe.zcount(keys.helpers(claim.job), now, "+inf")
                leased, brought, helpers = await pipe.execute()
            found = [Brought.model_validate_json(each) for each in brought]
            return News([int(shard) for shard in leased], found, int(helpers))

        return await self._scripts.persistently(read)

    # --- a helper's --------------------------------------------------------------------------------------------------

    async def shared(self) -> list[str]:
        """Jobs whose passes may be helped with, the oldest first."""
        return [id.decode() for id in await self._redis.zrange(keys.SHARED, 0, -1)]

    async def helpers(self, id: str) -> int:
        return int(await self._redis.zcard(keys.helpers(id)))

    async def lease(self, record: JobRecord, helper: str) -> int | None:
        """The earliest shard that is free; None where none is, or no more help is wanted."""
        most = record.spec.limits.max_workers
        lease = round(self._timing.shard_lease * 1000)
        args: list[Value] = [record.id, record.fence, helper, lease, most - 1 if most else MOST_HELPERS, self._kept]
        answer, rest = await self._scripts("lease_shard", self._of(record), args, patience=0)
        return int(rest[0]) if answer is Answer.OK else None

    async def bring(self, record: JobRecord, brought: Brought, seconds: float) -> Wanted:
        """Where its segment is not wanted, nothing is to be left of it."""
        args: list[Value] = [record.id, record.fence, _member(brought.shard), brought.model_dump_json()]
        answer, _ = await self._scripts("bring_shard", self._of(record), [*args, f"{seconds:.3f}", self._kept])
        return {Answer.OK: Wanted.YES, Answer.REFUSED: Wanted.NO}.get(answer, Wanted.GONE)

    def _of(self, record: JobRecord) -> list[str]:
        return [*keys.of_job(record.id, record.tenant), *_keys(record.id)]

    @property
    def _kept(self) -> int:
        return round(self._timing.pass_kept * 1000)


def _keys(job: str) -> list[str]:
    return [keys.shards(job), keys.brought(job), keys.helpers(job), keys.SHARED]


def _member(shard: int) -> str:
    return f"{shard:06d}"
