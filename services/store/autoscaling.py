"""The autoscaler's place in Redis: it tells what it decides."""

from collections.abc import Sequence

from services.contract.fleet import AutoscalerReport, Decision
from services.store import keys
from services.store.commands import Redis, Value
from services.store.reading import readable
from services.store.scripts import Scripts
from services.store.totals import KindCount

KEPT = 100  # decisions


class Autoscaling:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def tell(self, report: AutoscalerReport, acted: Sequence[Decision]) -> None:
        """Once: what is told twice would be counted twice."""
        args: list[Value] = [report.model_dump_json(exclude={"alive", "decisions"}), KEPT]
        for decision in acted:
            count = KindCount.WORKERS_STARTED if decision.start else KindCount.WORKERS_DRAINED
            args += [decision.model_dump_json(), count.of(decision.kind), decision.start or len(decision.drain)]
        await self._scripts("autoscaling", [keys.SCALING, keys.DECISIONS, keys.TOTALS], args, patience=0)

    async def read(self) -> AutoscalerReport:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(keys.SCALING)
            pipe.lrange(keys.DECISIONS, 0, -1)
            pipe.exists(keys.AUTOSCALER)
            state, decisions, alive = await pipe.execute()
        told = next(readable(AutoscalerReport, filter(None, [state])), AutoscalerReport())
        newest = list(readable(Decision, decisions))
        return told.model_copy(update={"alive": bool(alive), "decisions": newest})
