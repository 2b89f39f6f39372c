"""Submissions that may come twice: the job's id is given before the job is made, so a repeat makes the same."""

from dataclasses import dataclass

from services.contract.ids import new_id
from services.store import keys
from services.store.commands import Redis, Value
from services.store.scripts import Answer, Scripts


@dataclass(frozen=True)
class Reservation:
    """`answer` is what the first submission was told; None while it is in flight, for `age` seconds by now."""

    name: str
    job: str
    is_first: bool
    answer: str | None
    age: float


class Submissions:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def reserve(
        self, tenant: str, name: str, digest: str, *, seconds: float, anew: bool = False
    ) -> Reservation | None:
        """None where another body came under this name. `anew`: what is known is forgotten."""
        key = keys.idempotency(tenant, name)
        proposed = new_id("ftjob")
        args: list[Value] = [proposed, digest, round(seconds * 1000), int(anew)]
        answer, rest = await self._scripts("reserve", [key], args)
        if answer is not Answer.OK:
            return None
        id, told, age = (part.decode() for part in rest)
        return Reservation(key, id, id == proposed, told or None, int(age) / 1000)

    async def remember(self, reservation: Reservation, answer: str) -> None:
        """What the first submission was told, for those that come after."""
        await self._redis.hset(reservation.name, "answer", answer)

    async def release(self, reservation: Reservation) -> None:
        """The submission was refused: the name is free for a better one."""
        await self._redis.delete(reservation.name)
