"""One way to reach Redis: short timeouts, no hidden retries, and the check that it will not lose what it is given."""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, RedisError, TimeoutError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from services.contract.errors import StoreFull, StoreUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

# redis-py types every answer as bytes | str | …, whatever the client decodes: nothing of ours would be checked by it.
Redis: TypeAlias = Any

SOCKET_TIMEOUT = 3.0  # redis-py's own default retries hung 58 s on a half-open socket (measured); retrying is ours
AWAY = (ConnectionError, TimeoutError, ReadOnlyError)  # a replica after failover is away for our purpose

REFUSES = re.compile("HELLO must be|AUTH|invalid username-password")  # redis-py makes connection errors of these too


def connect(url: str, *, timeout: float = SOCKET_TIMEOUT) -> Redis:
    return redis.asyncio.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout, socket_connect_timeout=SOCKET_TIMEOUT
    )


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    redis = connect(url)
    try:
        yield redis
    finally:
        await redis.aclose()


async def persistently(call: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """`call` again while Redis is away, for `seconds`; the call must be one that may be repeated."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(AWAY),
        stop=stop_after_delay(seconds),
        wait=wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.1),
        reraise=True,
    ):
        with attempt:
            return await call()
    raise AssertionError("unreachable")


def as_problem(error: Exception) -> StoreUnavailable | StoreFull | None:
    """What a client is told of Redis' trouble; None where the trouble is ours."""
    if isinstance(error, OutOfMemoryError):
        return StoreFull(
            "Redis has reached its maxmemory: delete old jobs, wait for them to expire, or raise maxmemory."
        )
    if str(error).startswith("MISCONF"):
        return StoreFull("Redis cannot write its append-only file: its disk is full or broken.")
    if isinstance(error, AWAY):
        return StoreUnavailable("Redis cannot be reached. Nothing was lost; try again shortly.")
    return None


async def refusal_to_use(redis: Redis, *, trusted: bool) -> str | None:
    """Why this Redis must not hold jobs, if so: read from INFO, as managed services block CONFIG."""
    try:
        info = await redis.info("everything")
    except RedisError as error:
        if isinstance(error, AWAY) and not REFUSES.search(str(error)):
            raise
        said = str(error).split(". ")[0]
        return f"Redis refuses the connection: {said}. Check HEADWAY_REDIS_URL, with its user and password."
    major = int(str(info["redis_version"]).split(".")[0])
    if major < 7:
        return f"Redis {info['redis_version']} is too old: Headway needs Redis 7 or Valkey."
    if info.get("cluster_enabled"):
        return "Redis runs in cluster mode, which Headway does not support: use one primary."
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        return f"Redis may evict jobs: set `maxmemory-policy noeviction` (it is {info['maxmemory_policy']})."
    if not trusted and not info.get("aof_enabled"):
        return (
            "Redis keeps no append-only file, so a restart would lose jobs: set `appendonly yes`, "
            "or HEADWAY_REDIS_DURABLE=trusted where your provider persists in a way that INFO does not show."
        )
    return None
