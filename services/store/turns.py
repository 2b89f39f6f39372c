"""Background work of which any number of processes may exist, and one works at a time."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.exceptions import RedisError

from services.contract.errors import InFlight
from services.contract.timing import Timing
from services.store.scripts import Answer, Scripts


class Turns:
    def __init__(self, scripts: Scripts, timing: Timing) -> None:
        self._scripts, self._timing = scripts, timing

    @asynccontextmanager
    async def held(self, lock: str) -> AsyncIterator[None]:
        """Waits for the turn, and gives it back; that of a process which was killed ends by itself."""
        me = secrets.token_hex(8)
        while True:
            if await self.take(lock, me, seconds=self._timing.short_turn):
                break
            await asyncio.sleep(self._timing.short_turn / 1000)
        renewal = asyncio.create_task(self._renew(lock, me))
        try:
            yield
        finally:
            renewal.cancel()
            with suppress(RedisError):  # then it ends by itself
                await self._scripts("unlock", [lock], [me], patience=0)

    async def _renew(self, lock: str, me: str) -> None:
        while True:
            await asyncio.sleep(self._timing.short_turn / 4)
            with suppress(RedisError):
                await self.take(lock, me, seconds=self._timing.short_turn)

    @asynccontextmanager
    async def alone(self, lock: str, *, seconds: float) -> AsyncIterator[None]:
        """For what may take long, and is not waited for. Raises InFlight where another does it."""
        me = secrets.token_hex(8)
        if not await self.take(lock, me, seconds=seconds):
            raise InFlight("The same is under way: ask again.")
        try:
            yield
        finally:
            with suppress(RedisError):
                await self._scripts("unlock", [lock], [me], patience=0)

    async def take(self, lock: str, me: str, *, seconds: float) -> bool:
        """Whether it is `me`'s turn; if so it lasts for `seconds`. One try: its caller counts from when it asked."""
        answer, _ = await self._scripts("lock", [lock], [me, round(seconds * 1000)], patience=0)
        return answer is Answer.OK
