"""One way to reach Redis: short timeouts, no hidden retries, and the check that it will not lose what it is given."""

import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.maint_notifications import MaintNotificationsConfig
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_exponential_jitter

from services.contract.errors import StoreFull, StoreUnavailable
from services.contract.timing import Timing
from services.store.address import SentinelsRefuse, options_of
from services.store.commands import Redis
from services.store.rights import missing_rights

log = logging.getLogger(__name__)
T = TypeVar("T")

# A replica after a failover is away for our purpose, and one without its primary.
AWAY = (ConnectionError, TimeoutError, ReadOnlyError, MasterDownError)
# It answers, and takes nothing for now: its disk is full, its replicas are away, it loads, a script holds it. In a
# pipeline or a script's error the word stands somewhere within.
STALLED = re.compile(r"\b(MISCONF|NOREPLICAS|READONLY|MASTERDOWN|LOADING|BUSY|TRYAGAIN)\b")
# redis-py makes connection errors of these too.
REFUSES = re.compile(
    "HELLO must be|AUTH|Authentication required|invalid username-password|NOPERM|no permissions|Invalid Database|"
    "CERTIFICATE_VERIFY_FAILED|CERTIFICATE_REQUIRED|UNKNOWN_CA|HANDSHAKE_FAILURE|WRONG_VERSION_NUMBER"
)
TLS = re.compile(r"\[SSL: [A-Z_]+\][^(]*")


class Outage:
    """Redis' absence as a process sees it: said once as it begins and once as it ends, not at each try."""

    def __init__(self, timing: Timing) -> None:
        self._say_every = timing.say_outage_every
        self._since: float | None = None
        self._said_at = -math.inf

    def is_seen(self, error: BaseException) -> None:
        now = time.monotonic()
        if self._since is None and now - self._said_at >= self._say_every:
            self._since = self._said_at = now
            said = str(error) or type(error).__name__
            log.warning("Redis is away (%s; HEADWAY_REDIS_URL names it); trying again until it is back", said)

    def is_over(self) -> None:
        since, self._since = self._since, None
        if since is not None:
            log.warning("Redis is back after %.0f s", time.monotonic() - since)


@cache
def outage_of_this_process(timing: Timing) -> Outage:
    """One for all that a process opens, so that an absence is said once."""
    return Outage(timing)


def connect(url: str, timing: Timing, *, block: float = 0.0, connections: int | None = None) -> Redis:
    """A client whose commands wait for `block` seconds by themselves, and `timing.socket` more for the network.

    At most `connections` at a time, if given: who needs one more waits for it, for `timing.pool`.
    """
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": block + timing.socket,
        "socket_connect_timeout": timing.socket,
        # With them, redis-py no longer sees that a connection which waited in the pool is dead (8.1, over TCP).
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    options |= options_of(url)
    pool = (
        redis.asyncio.ConnectionPool(**options)
        if connections is None
        else redis.asyncio.BlockingConnectionPool(max_connections=connections, timeout=timing.pool, **options)
    )
    return cast(Redis, redis.asyncio.Redis.from_pool(pool))


@asynccontextmanager
async def connected(url: str, timing: Timing, *, connections: int | None = None) -> AsyncIterator[Redis]:
    redis = connect(url, timing, connections=connections)
    try:
        yield redis
    finally:
        with suppress(RedisError):  # a farewell that nobody takes
            await redis.aclose()


@dataclass(frozen=True)
class Patience:
    """How calls that may be repeated are made again while Redis is away."""

    seconds: float
    timing: Timing
    outage: Outage

    async def __call__(self, call: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
        """`seconds` instead of its own, if given; 0 is one try."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_away),
            stop=stop_after_delay(self.seconds if seconds is None else seconds),
            wait=wait_exponential_jitter(
                multiplier=self.timing.retry_first, max=self.timing.retry_last, jitter=self.timing.retry_first
            ),
            after=self._note,
            reraise=True,
        ):
            with attempt:
                answer = await call()
                self.outage.is_over()
                return answer
        raise AssertionError("unreachable")

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if error:
            self.outage.is_seen(error)


def is_away(error: BaseException) -> bool:
    """Whether it may answer later: it cannot be reached, or takes nothing for now."""
    return isinstance(error, AWAY) or (isinstance(error, ResponseError) and bool(STALLED.search(str(error))))


def as_problem(error: Exception) -> StoreUnavailable | StoreFull | None:
    """What a client is told of Redis' trouble; None where the trouble is ours."""
    if isinstance(error, OutOfMemoryError):
        return StoreFull(
            "Redis has reached its maxmemory: delete old jobs, wait for them to expire, or raise maxmemory."
        )
    if "MISCONF" in str(error):
        return StoreUnavailable("Redis cannot write its append-only file: its disk is full or broken.")
    if is_away(error):
        return StoreUnavailable("Redis cannot be reached. Nothing was lost; try again shortly.")
    return None


async def refusal_to_use(redis: Redis, *, trusted: bool) -> str | None:
    """Why this Redis must not hold jobs, if so. Raises ReadOnlyError for a replica, which may become a primary."""
    try:
        lacks = await missing_rights(redis, trusted=trusted)
        info = {} if lacks else await _info(redis)
    except RedisError as error:
        if (
            isinstance(error, AWAY)
            and not isinstance(error.__cause__, SentinelsRefuse)
            and not REFUSES.search(str(error))
        ):
            raise
        of_tls = TLS.search(str(error))
        said = of_tls[0].strip() if of_tls else str(error).split(". ")[0]
        return f"Redis refuses the connection: {said}. Check HEADWAY_REDIS_URL, with its user, password and TLS."
    if lacks:
        return f"Redis gives this user no right to {lacks}. What Headway needs stands in infra/README.md."
    if info.get("role") == "slave":
        raise ReadOnlyError("Redis is a replica: Headway needs the primary")
    return _unfit(info) or (None if trusted else _forgetful(info))


async def warning_of_replicas(redis: Redis) -> str | None:
    """A primary that was cut off from all others goes on taking jobs, which are lost once it is a replica again: unless
    it takes only what a replica may have."""
    info = await _info(redis)
    if not info or "min_slaves_good_slaves" in info:
        return None
    return (
        "Redis' primary takes writes that no replica has, and loses them where it is cut off and another is promoted: "
        "set `min-replicas-to-write 1` and `min-replicas-max-lag 2` on each server that Sentinels watch"
    )


async def _info(redis: Redis) -> dict[str, Any]:
    """Read from INFO, as managed services block CONFIG; where that is blocked too, nothing is known."""
    try:
        return await redis.info("everything")
    except NoPermissionError:
        return {}


def _unfit(info: Mapping[str, Any]) -> str | None:
    version = str(info.get("redis_version", "7"))
    if int(version.split(".")[0]) < 7:
        return f"Redis {version} is too old: Headway needs Redis 7 or Valkey."
    if info.get("cluster_enabled"):
        return "Redis runs in cluster mode, which Headway does not support: use one primary."
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        return f"Redis may evict jobs: set `maxmemory-policy noeviction` (it is {info['maxmemory_policy']})."
    return None


def _forgetful(info: Mapping[str, Any]) -> str | None:
    if info.get("aof_enabled"):
        return None
    return (
        "Redis keeps no append-only file, so a restart would lose jobs: set `appendonly yes`, "
        "or HEADWAY_REDIS_DURABLE=trusted where your provider persists in a way that INFO does not show."
    )
