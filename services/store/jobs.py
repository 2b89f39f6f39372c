"""Jobs as records: created, listed, asked for, wished upon, swept."""

import heapq
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from redis.exceptions import RedisError, ResponseError

from services.contract.ids import is_id
from services.contract.job import JobWarning, QueuePlace
from services.contract.quota import UNLIMITED, Quota
from services.contract.spec import JobSpec
from services.contract.transitions import ENDED, Action, Status
from services.store import keys
from services.store.commands import Redis, Value
from services.store.reading import fields_of_all, read_hash, say_once, some_ids
from services.store.record import WARNINGS, JobRecord
from services.store.scripts import Answer, Scripts


@dataclass(frozen=True)
class Requested:
    """What became of a user's wish: whether it was taken, and the status now."""

    taken: bool
    status: Status


READ = 100  # records at once


class Jobs:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def create(
        self,
        id: str,
        tenant: str,
        spec: JobSpec,
        *,
        warnings: Sequence[JobWarning] = (),
        quota: Quota = UNLIMITED,
        trace: str | None = None,
    ) -> bool:
        """Record and place in the queue, or nothing at all: False where the tenant has as many waiting as it may. May
        be repeated with the same id. `trace`: a traceparent, that of its submission."""
        kind = "any" if spec.device == "auto" else spec.device
        said = WARNINGS.dump_json(list(warnings))
        args: list[Value] = [id, tenant, kind, spec.priority, spec.model_dump_json(), said]
        args += [quota.queued_jobs, quota.running_jobs, quota.weight, quota.checkpoint_bytes, trace or ""]
        answer, _ = await self._scripts("create", [*keys.of_job(id, tenant), keys.jobs_of(tenant)], args)
        return answer is Answer.OK

    async def get(self, id: str) -> JobRecord | None:
        """None where there is none, and where it cannot be said whose it is: such a one is set aside."""
        fields = await read_hash(self._redis, self._scripts, keys.job(id))
        if not fields:
            return None
        try:
            return JobRecord.of_fields(fields)
        except (KeyError, ValueError) as error:
            with suppress(RedisError):  # where it takes no writes, another time
                await self.set_aside(id, f"Not even its owner or status can be read: {type(error).__name__}: {error}")
            return None

    async def set_aside(self, id: str, why: str, tenant: str | None = None) -> None:
        """It waits in no line and is swept by nobody, until a version that can read it puts it back. `tenant`: in whose
        line it was found."""
        say_once(f"job {id}", why)
        owner = await self.tenant(id) if tenant is None else tenant
        await self._scripts("set_aside", [*keys.of_job(id, owner), keys.ASIDE, keys.PUT_AWAY], [id, why, owner])

    async def aside(self) -> dict[str, str]:
        """Why, by job."""
        return {id.decode(): why.decode() for id, why in (await self._redis.hgetall(keys.ASIDE)).items()}

    async def take_back(self) -> None:
        """Of those set aside, what can be read now goes where its status says; what was deleted is forgotten."""
        for id in await self.aside():
            fields = await read_hash(self._redis, self._scripts, keys.job(id))
            with suppress(KeyError, ValueError):
                if not fields or JobRecord.of_fields(fields).problem is None:
                    await self._scripts("take_back", [*await self.keys(id), keys.ASIDE], [id])

    async def owned_by(self, tenant: str, id: str) -> JobRecord | None:
        record = await self.get(id) if is_id(id, "ftjob") else None
        return record if record is not None and record.tenant == tenant else None

    async def page(
        self, tenant: str, *, after: str | None, limit: int, metadata: Mapping[str, str] | None = None
    ) -> tuple[list[JobRecord], bool]:
        """Newest first, from the one before `after`; and whether there are more. With `metadata`, of those that have
        all of it; of those that have none, where it is empty."""
        found: list[JobRecord] = []
        more = True
        while more and len(found) <= limit:
            wanted = limit + 1 - len(found) if metadata is None else READ
            ids, more = await some_ids(self._redis, keys.jobs_of(tenant), after=after, limit=wanted)
            records = [record for id in ids if (record := await self.get(id)) is not None]
            found += [record for record in records if metadata is None or _has(record.spec.metadata or {}, metadata)]
            after = ids[-1] if ids else after
        return found[:limit], len(found) > limit

    async def needing(self, tenant: str, file: str) -> str | None:
        """A job of the tenant that has not ended and trains on the file."""
        jobs = fields_of_all(self._redis, keys.jobs_of(tenant), keys.job, ["status", "spec"], at_once=5 * READ)
        async for id, (status, spec) in jobs:
            if status and status.decode() not in ENDED and file.encode() in (spec or b""):
                return id
        return None

    async def request(self, id: str, action: Action) -> Requested | None:
        """None where there is no such job (any more)."""
        answer, rest = await self._scripts("request", await self.keys(id), [action, secrets.token_hex(8)])
        return None if answer is Answer.GONE else Requested(answer is Answer.OK, Status(rest[0].decode()))

    async def place(self, record: JobRecord) -> QueuePlace | None:
        """Where a queued job stands, as an estimate: before it come its tenant's jobs that are before it, and as many
        of each other tenant's as take turns with those."""
        if record.status is not Status.QUEUED:
            return None
        rank = await self._redis.zrank(keys.queued_by(record.tenant, record.kind), record.id)
        if rank is None:
            return None
        others = [name.decode() for name in await self._redis.zrange(keys.TURNS, 0, -1)]
        async with self._redis.pipeline(transaction=False) as pipe:
            for tenant in others:
                pipe.zcard(keys.queued_by(tenant, record.kind))
            counts = dict(zip(others, await pipe.execute(), strict=True))
        counts.pop(record.tenant, None)
        ahead = rank + sum(min(count, rank + 1) for count in counts.values())
        return QueuePlace(position=ahead + 1, ahead=ahead)

    async def line(self, kinds: Sequence[str]) -> AsyncIterator[tuple[str, AsyncIterator[str]]]:
        """Tenants with waiting jobs, whose turn it is first; of each its jobs, by priority, then by time."""
        for name in await self._scripts.persistently(lambda: self._redis.zrange(keys.TURNS, 0, -1)):
            tenant = name.decode()
            yield tenant, self._line_of(tenant, kinds)

    async def _line_of(self, tenant: str, kinds: Sequence[str]) -> AsyncIterator[str]:
        for start in count(0, READ):
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind in kinds:
                    pipe.zrange(keys.queued_by(tenant, kind), start, start + READ - 1, withscores=True)
                parts: list[list[tuple[bytes, float]]] = await pipe.execute()
            for id, _ in heapq.merge(*parts, key=lambda entry: entry[1]):
                yield id.decode()
            if all(len(part) < READ for part in parts):
                return

    async def keys(self, id: str) -> list[str]:
        """Of a job of which only the id is known."""
        return keys.of_job(id, await self.tenant(id))

    async def tenant(self, id: str) -> str:
        """Whose it is; "" where nobody can say."""
        with suppress(ResponseError):  # something else stands in its place
            tenant = await self._scripts.persistently(lambda: self._redis.hget(keys.job(id), "tenant"))
            return tenant.decode(errors="replace") if tenant else ""
        return ""

    async def waiting(self) -> dict[str, int]:
        """How many jobs wait in line, by device kind."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for kind in keys.KINDS:
                pipe.zcard(keys.queued(kind))
            return dict(zip(keys.KINDS, await pipe.execute(), strict=True))

    async def running(self) -> int:
        return await self._redis.zcard(keys.RUNNING)

    async def ended_before(self, seconds: float) -> list[str]:
        """Up to a hundred of those put away, and of those that are not yet."""
        some = [
            await self._redis.zrangebyscore(key, "-inf", f"({seconds}", 0, READ) for key in (keys.PUT_AWAY, keys.ENDED)
        ]
        return [id.decode() for ids in some for id in ids]

    async def forget(self, id: str, tenant: str) -> bool:
        """Remove a job with all that it left in Redis, its model too; False where a worker owns it."""
        numbers = await self._redis.zrange(keys.checkpoints(id), 0, -1, withscores=True)
        bytes_of_each = [keys.checkpoint(id, int(number)) for _, number in numbers]
        shared = [
            keys.jobs_of(tenant),
            keys.ASIDE,
            keys.checkpoints_stored(tenant),
            keys.PUT_AWAY,
            keys.models_of(tenant),
            keys.SHARED,
        ]
        names = [
            *keys.of_job(id, tenant),
            *shared,
            keys.model(id),
            keys.series(id),
            keys.checkpoints(id),
            keys.shards(id),
            keys.brought(id),
            keys.helpers(id),
            *bytes_of_each,
        ]
        answer, _ = await self._scripts("forget", names, [id, tenant])
        return answer is Answer.OK


def _has(known: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(known.get(name) == value for name, value in wanted.items()) if wanted else not known
