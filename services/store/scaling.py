"""The autoscaler's place in Redis: one works at a time, and tells what it decides."""

from collections.abc import Sequence

from services.contract.scaling import Decision, Scaling
from services.store import keys
from services.store.connection import Redis
from services.store.scripts import Answer, Scripts

TURN = 10.0  # seconds that an autoscaler's turn lasts without being renewed
KEPT = 100  # decisions


class Autoscaling:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def take_turn(self, me: str) -> bool:
        """Whether it is this autoscaler's turn; if so it is renewed. One try: its caller counts from when it asked."""
        answer, _ = await self._scripts("lock", [keys.AUTOSCALER], [me, round(TURN * 1000)], patience=0)
        return answer is Answer.OK

    async def tell(self, state: Scaling, acted: Sequence[Decision]) -> None:
        """Once: what is told twice would be counted twice."""
        args: list[str | int] = [state.model_dump_json(exclude={"alive", "decisions"}), KEPT]
        for decision in acted:
            change = decision.start or len(decision.drain)
            args += [
                decision.model_dump_json(),
                f"{'started' if decision.start else 'drained'}:{decision.kind}",
                change,
            ]
        await self._scripts("scaling", [keys.SCALING, keys.DECISIONS, keys.TOTALS], args, patience=0)

    async def read(self) -> Scaling:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(keys.SCALING)
            pipe.lrange(keys.DECISIONS, 0, -1)
            pipe.exists(keys.AUTOSCALER)
            state, decisions, alive = await pipe.execute()
        told = Scaling.model_validate_json(state) if state else Scaling()
        newest = [Decision.model_validate_json(decision) for decision in decisions]
        return told.model_copy(update={"alive": bool(alive), "decisions": newest})
