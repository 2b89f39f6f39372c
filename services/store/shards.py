"""A job's pass over its images, shared: which shards are free, who computes which, and what helpers have brought.

Rows are keyed by content and segments are whole or absent, so to do a shard twice is harmless: help needs no fence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel

from services.contract.timing import Timing
from services.contract.transitions import OWNED
from services.store import keys
from services.store.commands import Redis, Value
from services.store.jobs import Jobs
from services.store.leases import Claim, write
from services.store.record import JobRecord, SharedPlan
from services.store.scripts import Answer, Scripts

MOST_WORKERS = 1000  # of a pass, its owner among them
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
    def __init__(self, redis: Redis, scripts: Scripts, jobs: Jobs, timing: Timing) -> None:
        self._redis, self._scripts, self._jobs, self._timing = redis, scripts, jobs, timing

    # --- the owner's -------------------------------------------------------------------------------------------------

    async def share(self, claim: Claim, count: int, plan: str, size: int) -> None:
        """Open the pass: `count` shards of `size` images, whose plan lies at `plan`. Raises Fenced."""
        about = SharedPlan(place=plan, size=size).model_dump_json()
        await write(self._scripts, "share", claim, [count, about, self._kept], more_keys=_keys(claim.job))

    async def take(self, claim: Claim, shard: int) -> None:
        """The owner computes it. Raises Fenced."""
        await write(self._scripts, "take_shards", claim, [self._kept, _member(shard)], more_keys=_keys(claim.job))

    async def end(self, claim: Claim) -> None:
        """Nobody needs to help any more. Raises Fenced."""
        await write(self._scripts, "take_shards", claim, [self._kept], more_keys=_keys(claim.job))

    async def news(self, claim: Claim, *, since: int) -> News:
        """`since`: how many were brought before."""

        async def read() -> News:
            now = await self._now()
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zrangebyscore(keys.shards(claim.job), f"({now}", f"({OWNERS}")
                pipe.lrange(keys.brought(claim.job), since, -1)
                pipe.zcount(keys.helpers(claim.job), now, "+inf")
                leased, brought, helpers = await pipe.execute()
            found = [Brought.model_validate_json(each) for each in brought]
            return News([int(shard) for shard in leased], found, int(helpers))

        return await self._scripts.persistently(read)

    # --- a helper's --------------------------------------------------------------------------------------------------

    async def passes(self) -> list[JobRecord]:
        """Jobs whose passes may be helped with, the oldest first. What a lost owner left open is closed."""
        found = []
        for id in map(bytes.decode, await self._redis.zrange(keys.SHARED, 0, -1)):
            record = await self._jobs.get(id)
            if record is not None and record.status in OWNED and record.plan is not None:
                found.append(record)
            else:
                await self._redis.zrem(keys.SHARED, id)
        return found

    async def wants_help(self, record: JobRecord) -> bool:
        """Whether a shard is free, and more help wanted. It may be gone by when it is asked for."""
        now = await self._now()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcount(keys.shards(record.id), 0, now)
            pipe.zcount(keys.helpers(record.id), now, "+inf")
            free, helpers = await pipe.execute()
        return bool(free) and int(helpers) < most_helpers(record)

    async def renew(self, record: JobRecord, helper: str, shards: Sequence[int]) -> None:
        """A helper is still at work on them. What the owner took meanwhile stays its own."""
        till = await self._now() + round(self._timing.shard_lease * 1000)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zadd(keys.shards(record.id), dict.fromkeys(map(_member, shards), till), xx=True, gt=True)
            pipe.zadd(keys.helpers(record.id), {helper: till}, xx=True, gt=True)
            await pipe.execute()

    async def helpers(self, id: str) -> int:
        return int(await self._redis.zcard(keys.helpers(id)))

    async def lease(self, record: JobRecord, helper: str) -> int | None:
        """The earliest shard that is free; None where none is, or no more help is wanted."""
        lease = round(self._timing.shard_lease * 1000)
        args: list[Value] = [record.fence, helper, lease, most_helpers(record), self._kept]
        answer, rest = await self._scripts("lease_shard", self._of(record), args, patience=0)
        return int(rest[0]) if answer is Answer.OK else None

    async def bring(self, record: JobRecord, brought: Brought, seconds: float) -> Wanted:
        """Where its segment is not wanted, nothing is to be left of it."""
        args: list[Value] = [record.fence, _member(brought.shard), brought.model_dump_json()]
        answer, _ = await self._scripts("bring_shard", self._of(record), [*args, f"{seconds:.3f}", self._kept])
        return {Answer.OK: Wanted.YES, Answer.REFUSED: Wanted.NO}.get(answer, Wanted.GONE)

    def _of(self, record: JobRecord) -> list[str]:
        return [*keys.of_job(record.id, record.tenant), *_keys(record.id)]

    async def _now(self) -> int:
        """Redis' clock, ms."""
        seconds, micros = await self._redis.time()
        return round(seconds * 1000 + micros / 1000)

    @property
    def _kept(self) -> int:
        return round(self._timing.pass_kept * 1000)


def most_helpers(record: JobRecord) -> int:
    """That a job wants."""
    return (record.spec.limits.max_workers or MOST_WORKERS) - 1


def _keys(job: str) -> list[str]:
    return [keys.shards(job), keys.brought(job), keys.helpers(job), keys.SHARED]


def _member(shard: int) -> str:
    return f"{shard:06d}"
