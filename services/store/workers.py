"""Workers as they report themselves: a heartbeat that expires, and the wish that they drain."""

from enum import StrEnum

from services.contract.fleet import Worker
from services.contract.timing import Timing
from services.store import keys
from services.store.commands import Redis, Value
from services.store.reading import readable
from services.store.scripts import Answer, Scripts


class Drain(StrEnum):
    """The wish that a worker ends, as its hash keeps it."""

    NO = "0"
    NOW = "1"  # its job is handed on after a checkpoint
    AFTER_JOB = "after_job"  # it takes no more, and finishes the one that it has


class Workers:
    def __init__(self, redis: Redis, scripts: Scripts, timing: Timing) -> None:
        self._redis, self._scripts, self._timing = redis, scripts, timing

    async def report(self, worker: Worker) -> Drain:
        """Write the heartbeat; what is wished of the worker."""
        ttl = round(self._timing.heartbeat_ttl * 1000)
        args: list[Value] = [worker.id, worker.model_dump_json(), ttl]
        to = [keys.worker(worker.id), keys.WORKERS]
        _, rest = await self._scripts("report", to, args, patience=self._timing.heartbeat)  # then the next is due
        return Drain(rest[0].decode())

    async def remove(self, id: str) -> None:
        async def write() -> None:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(keys.worker(id))
                pipe.zrem(keys.WORKERS, id)
                await pipe.execute()

        await self._scripts.persistently(write, patience=self._timing.heartbeat)

    async def all(self) -> list[Worker]:
        seconds, _ = await self._redis.time()
        ids = await self._redis.zrangebyscore(keys.WORKERS, seconds - self._timing.heartbeat_ttl, "+inf")
        async with self._redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hget(keys.worker(id.decode()), "report")
            return list(readable(Worker, filter(None, await pipe.execute())))

    async def ask_to_drain(self, id: str, when: Drain = Drain.NOW) -> bool:
        """Whether there is such a worker."""
        answer, _ = await self._scripts("drain", [keys.worker(id)], [when])
        return answer is Answer.OK
