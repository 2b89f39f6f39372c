"""Workers as they report themselves: a heartbeat that expires, and the wish that they drain."""

import time

from services.contract.job import Worker
from services.store import keys
from services.store.connection import Redis
from services.store.scripts import Answer, Scripts

HEARTBEAT = 2.0  # seconds between heartbeats
TTL = 15  # seconds after the last one until a worker is gone


class Workers:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def report(self, worker: Worker) -> bool:
        """Write the heartbeat; whether a drain is wished."""
        args = [worker.id, worker.model_dump_json(), worker.seen_at, TTL]
        _, rest = await self._scripts("report", [keys.worker(worker.id), keys.WORKERS], args)
        return rest[0] == b"1"

    async def remove(self, id: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.worker(id))
            pipe.zrem(keys.WORKERS, id)
            await pipe.execute()

    async def all(self) -> list[Worker]:
        ids = await self._redis.zrangebyscore(keys.WORKERS, time.time() - TTL, "+inf")
        reports = [await self._redis.hget(keys.worker(id.decode()), "report") for id in ids]
        return [Worker.model_validate_json(report) for report in reports if report]

    async def ask_to_drain(self, id: str) -> bool:
        """Whether there is such a worker."""
        answer, _ = await self._scripts("drain", [keys.worker(id)], [])
        return answer is Answer.OK
