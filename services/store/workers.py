"""Workers as they report themselves: a heartbeat that expires, and the wish that they drain."""

import time

from services.contract.job import Worker
from services.store import keys
from services.store.connection import Redis

HEARTBEAT = 2.0  # seconds between heartbeats
TTL = 15  # seconds after the last one until a worker is gone


class Workers:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def report(self, worker: Worker) -> bool:
        """Write the heartbeat; whether a drain is wished."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.worker(worker.id), "report", worker.model_dump_json())
            pipe.expire(keys.worker(worker.id), TTL)
            pipe.zadd(keys.WORKERS, {worker.id: worker.seen_at})
            pipe.zremrangebyscore(keys.WORKERS, "-inf", worker.seen_at - TTL)
            pipe.hget(keys.worker(worker.id), "drain")
            *_, drain = await pipe.execute()
        return bool(drain == b"1")

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
        if not await self._redis.exists(keys.worker(id)):
            return False
        await self._redis.hset(keys.worker(id), "drain", "1")
        return True
