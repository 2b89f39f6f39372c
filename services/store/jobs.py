"""Jobs as records: created, listed, asked for, wished upon, swept."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from services.contract.evaluation import Evaluation
from services.contract.events import TRIALS, CheckpointMetrics, FeatureUsage, Progress, Trial
from services.contract.ids import is_id
from services.contract.job import Attempt, Place, Reason
from services.contract.spec import PRECISION, JobSpec, Precision
from services.contract.transitions import Action, Status
from services.store import keys
from services.store.connection import Redis
from services.store.reading import newest_ids, read_hash
from services.store.scripts import Answer, Scripts

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Record:
    """A job as it lies in Redis, typed."""

    id: str
    tenant: str
    spec: JobSpec
    status: Status
    reason: Reason
    kind: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    fence: int
    attempt: int
    attempts: list[Attempt]
    last_step: int
    last_val_step: int
    checkpoint: int
    device_seconds: float
    claimed_at: int | None
    trimmed_to: str
    progress: Progress
    metrics: CheckpointMetrics | None
    best: CheckpointMetrics | None
    evaluation: Evaluation | None
    trials: list[Trial]
    features: FeatureUsage | None
    precision: Precision | None  # as the first claim resolved it
    result: Mapping[str, Any] | None


class Jobs:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def create(self, id: str, tenant: str, spec: JobSpec, *, warning: str | None = None) -> None:
        """Record and place in the queue, or nothing at all. May be repeated with the same id."""
        kind = "any" if spec.device == "auto" else spec.device
        args = [id, tenant, kind, spec.priority, spec.model_dump_json(), warning or ""]
        await self._scripts("create", [*keys.of_job(id), keys.jobs_of(tenant)], args)

    async def get(self, id: str) -> Record | None:
        fields = await read_hash(self._redis, self._scripts, keys.job(id))
        return _record(fields) if fields else None

    async def owned_by(self, tenant: str, id: str) -> Record | None:
        record = await self.get(id) if is_id(id, "ftjob") else None
        return record if record is not None and record.tenant == tenant else None

    async def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[Record], bool]:
        """Newest first, from the one before `after`; and whether there are more."""
        ids, more = await newest_ids(self._redis, keys.jobs_of(tenant), after=after, limit=limit)
        records = [await self.get(id) for id in ids]
        return [record for record in records if record is not None], more

    async def request(self, id: str, action: Action) -> tuple[bool, Status]:
        """The user's wish: whether it was taken, and the status now."""
        answer, rest = await self._scripts("request", keys.of_job(id), [action, secrets.token_hex(8)])
        return answer is Answer.OK, Status(rest[0].decode())

    async def place(self, record: Record) -> Place | None:
        """Where a queued job stands among those that the same workers could take."""
        if record.status is not Status.QUEUED:
            return None
        rank = await self._redis.zrank(keys.queued(record.kind), record.id)
        return None if rank is None else Place(position=rank + 1, ahead=rank)

    async def waiting(self) -> dict[str, int]:
        """How many jobs wait in line, by device kind."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for kind in keys.KINDS:
                pipe.zcard(keys.queued(kind))
            return dict(zip(keys.KINDS, await pipe.execute(), strict=True))

    async def running(self) -> int:
        return int(await self._redis.zcard(keys.RUNNING))

    async def totals(self) -> dict[str, int]:
        """What the scripts have counted since the store was made."""
        return {name.decode(): int(count) for name, count in (await self._redis.hgetall(keys.TOTALS)).items()}

    async def ended_before(self, seconds: float) -> list[str]:
        return [id.decode() for id in await self._redis.zrangebyscore(keys.ENDED, "-inf", f"({seconds}", 0, 100)]

    async def forget(self, id: str, tenant: str) -> None:
        """Remove an ended job with all that it left in Redis."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.job(id), keys.events(id), keys.series(id), keys.checkpoints(id))
            async for name in self._checkpoint_keys(id):
                pipe.delete(name)
            pipe.zrem(keys.ENDED, id)
            pipe.zrem(keys.jobs_of(tenant), id)
            await pipe.execute()

    async def _checkpoint_keys(self, id: str) -> AsyncIterator[str]:
        for _, number in await self._redis.zrange(keys.checkpoints(id), 0, -1, withscores=True):
            yield keys.checkpoint(id, int(number))


def _record(fields: dict[str, str]) -> Record:
    def whole(name: str) -> int | None:
        return int(fields[name]) if fields.get(name) else None

    return Record(
        id=fields["id"],
        tenant=fields["tenant"],
        spec=JobSpec.model_validate_json(fields["spec"]),
        status=Status(fields["status"]),
        reason=Reason.model_validate_json(fields["reason"]),
        kind=fields["kind"],
        created_at=int(fields["created_at"]),
        started_at=whole("started_at"),
        finished_at=whole("finished_at"),
        fence=int(fields["fence"]),
        attempt=int(fields["attempt"]),
        attempts=[Attempt.model_validate(attempt) for attempt in json.loads(fields["attempts"])],
        last_step=int(fields["last_step"]),
        last_val_step=int(fields["last_val_step"]),
        checkpoint=int(fields["checkpoint"]),
        device_seconds=float(fields["device_seconds"]),
        claimed_at=whole("claimed_at"),
        trimmed_to=fields["trimmed_to"],
        progress=Progress.model_validate_json(fields.get("progress", "{}")),
        metrics=_or_none(CheckpointMetrics, fields.get("metrics")),
        best=_or_none(CheckpointMetrics, fields.get("best")),
        evaluation=_or_none(Evaluation, fields.get("evaluation")),
        trials=TRIALS.validate_json(fields.get("trials", "[]")),
        features=_or_none(FeatureUsage, fields.get("features")),
        precision=_precision(fields.get("bound", "")),
        result=json.loads(fields["result"]) if "result" in fields else None,
    )


def _precision(bound: str) -> Precision | None:
    """From what the first claim bound the job to: "device kind, precision, weights …"."""
    return PRECISION.validate_python(bound.split(", ")[1]) if bound else None


def _or_none(model: type[M], text: str | None) -> M | None:
    return model.model_validate_json(text) if text else None
