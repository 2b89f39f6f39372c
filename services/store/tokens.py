"""Tokens that live for a minute: a browser's `EventSource` sends no key, and a key in an address would be logged."""

import hashlib
import secrets

from services.contract.timing import Timing
from services.store import keys
from services.store.commands import Redis


class StreamTokens:
    """What is kept is a token's hash."""

    def __init__(self, redis: Redis, timing: Timing) -> None:
        self._redis, self._timing = redis, timing

    async def new(self, tenant: str) -> str:
        token = "st-" + secrets.token_urlsafe(32)
        await self._redis.set(_key(token), tenant, px=round(self._timing.stream_token * 1000))
        return token

    async def tenant_of(self, token: str) -> str | None:
        tenant = await self._redis.get(_key(token))
        return tenant.decode() if tenant else None


def _key(token: str) -> str:
    return keys.stream_token(hashlib.sha256(token.encode()).hexdigest())
