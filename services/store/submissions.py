"""Requests that may come twice: the id of what they make is given before it is made, so a repeat makes the same."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from services.store import keys
from services.store.commands import Redis, Value
from services.store.scripts import Answer, Scripts

GONE: Final = "gone"  # the answer, once its job was deleted


@dataclass(frozen=True)
class Reservation:
    """`made` is the id of what the first request makes, or has made; `answer` is what it was told, None while it is in
    flight, for `age` seconds by now."""

    name: str
    made: str
    is_first: bool
    answer: str | None
    age: float


class Submissions:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def by_key(self, tenant: str, name: str, digest: str, id: str, *, seconds: float) -> Reservation | None:
        """None where another body came under this name. `id` is for what is made, if this is the first."""
        return await self._reserve(tenant, name, digest, id, keys.submission(id), seconds=seconds)

    async def by_body(
        self, tenant: str, name: str, digest: str, id: str, *, seconds: float, anew: bool
    ) -> Reservation | None:
        """A retry finds its first try while nobody has read what that made. `anew`: it is no retry."""
        found = await self._reserve(tenant, name, digest, id, keys.unread(id), seconds=seconds, anew=anew)
        if found is None or found.is_first or await self._redis.exists(keys.unread(found.made)):
            return found
        return await self._reserve(tenant, name, digest, id, keys.unread(id), seconds=seconds, anew=True)

    async def remember(self, reservation: Reservation, answer: str) -> None:
        """What the first submission was told, for those that come after."""
        await self._redis.hset(reservation.name, "answer", answer)

    async def release(self, reservation: Reservation) -> None:
        """The submission was refused: the name is free for a better one."""
        await self._redis.delete(reservation.name)

    async def are_read(self, jobs: Iterable[str]) -> None:
        """Whoever submitted them knows them: what comes now is no retry of it. Where Redis takes no writes, it is only
        not noted: reads go on."""
        if unread := [keys.unread(job) for job in jobs]:
            with suppress(RedisError):
                await self._redis.delete(*unread)

    async def forget(self, id: str) -> None:
        """It was deleted: what its submission was told goes too, and a replay hears that."""
        for back in (keys.submission(id), keys.unread(id)):
            if name := await self._redis.get(back):
                await self._redis.hset(name.decode(), "answer", GONE)
        await self._redis.delete(keys.submission(id), keys.unread(id))

    async def _reserve(
        self, tenant: str, name: str, digest: str, id: str, back: str, *, seconds: float, anew: bool = False
    ) -> Reservation | None:
        key = keys.idempotency(tenant, name)
        args: list[Value] = [id, digest, round(seconds * 1000), int(anew)]
        answer, rest = await self._scripts("reserve", [key, back], args)
        if answer is not Answer.OK:
            return None
        made, told, age = (part.decode() for part in rest)
        return Reservation(key, made, made == id, told or None, int(age) / 1000)
