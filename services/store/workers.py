"""Workers as they report themselves: a heartbeat that expires, and the wish that they drain."""

import time
from enum import StrEnum

from services.contract.job import Worker
from services.store import keys
from services.store.connection import Redis
from services.store.scripts import Answer, Scripts

HEARTBEAT = 2.0  # seconds between heartbeats
TTL = 15  # seconds after the last one until a worker is gone


class Drain(StrEnum):
    """The wish that a worker ends, as its hash keeps it."""

    NO = "0"
    NOW = "1"  # its job is handed on after a checkpoint
    AFTER_JOB = "after_job"  # it takes no more, and finishes the one that it has


class Workers:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def report(self, worker: Worker) -> Drain:
        """Write the heartbeat; what is wished of the worker."""
        args = [worker.id, worker.model_dump_json(), worker.seen_at, TTL]
        to = [keys.worker(worker.id), keys.WORKERS]
        _, rest = await self._scripts("report", to, args, patience=HEARTBEAT)  # then the next one is due
        return Drain(rest[0].decode())

    async def remove(self, id: str) -> None:
        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(keys.worker(id))
                pipe.zrem(keys.WORKERS, id)
                await pipe.execute()

        await self._scripts.persistently(write, patience=HEARTBEAT)

    async def all(self) -> list[Worker]:
        ids = await self._redis.zrangebyscore(keys.WORKERS, time.time() - TTL, "+inf")
        async with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(keys.worker(id.decode()), "report")
            return [Worker.model_validate_json(report) for report in await pipe.execute() if report]

    async def ask_to_drain(self, id: str, when: Drain = Drain.NOW) -> bool:
        """Whether there is such a worker."""
        answer, _ = await self._scripts("drain", [keys.worker(id)], [when])
        return answer is Answer.OK
