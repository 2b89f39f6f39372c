"""How Redis is reached, from its URL: as redis-py reads it, or by Sentinels, who say which of several is the primary.

Who opens a connection asks them, so that after a failover the next one leads to the new primary. For redis-py it is
only another kind of connection, and lies in the pools that any URL gets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio.connection
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.connection
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.contract.addresses import SENTINEL_SCHEMES, sentinels_of


def options_of(url: str) -> dict[str, Any]:
    """What a pool of asyncio's connections is made with."""
    watched = _Watched.of(url)
    options: dict[str, Any] = dict(redis.asyncio.connection.parse_url(watched.direct if watched else url))
    kind = options.pop("connection_class", redis.asyncio.connection.Connection)
    return options | {"connection_class": _led(kind, watched, options) if watched else kind}


def blocking_options_of(url: str) -> dict[str, Any]:
    """The same for connections that block, as Celery's do."""
    watched = _Watched.of(url)
    options: dict[str, Any] = redis.connection.parse_url(watched.direct if watched else url)
    kind = options.pop("connection_class", redis.connection.Connection)
    return options | {"connection_class": _led_blocking(kind, watched, options) if watched else kind}


@dataclass(frozen=True)
class _Watched:
    """A primary that Sentinels watch. `direct` is its URL, but for host and port; `own` leads to the Sentinels."""

    name: str
    sentinels: list[tuple[str, int]]
    own: Mapping[str, str]
    direct: str

    @classmethod
    def of(cls, url: str) -> "_Watched | None":
        parts = urlsplit(url)
        if parts.scheme not in SENTINEL_SCHEMES:
            return None
        user, at, _ = parts.netloc.rpartition("@")
        name, _, db = parts.path.removeprefix("/").partition("/")
        query = dict(parse_qsl(parts.query))
        own = {n.removeprefix("sentinel_"): query.pop(n) for n in list(query) if n.startswith("sentinel_")}
        direct = f"{SENTINEL_SCHEMES[parts.scheme]}://{user}{at}primary/{db}?{urlencode(query)}"
        return cls(name, sentinels_of(parts.netloc), own, direct)

    def reaching(self, options: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        """What Sentinels are reached with: their own user, the primary's TLS."""
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        timeouts = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        return {**tls, **timeouts, **self.own, "ssl": self.direct.startswith("rediss://")}


def _led(kind: type[Any], watched: _Watched, options: Mapping[str, Any]) -> type[Any]:
    """A kind of connection that leads to whatever is the primary as it is opened."""

    class Led(kind):  # type: ignore[misc]
        async def _connect(self) -> None:
            retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
            reaching = watched.reaching(options, self.socket_connect_timeout) | {"retry": retry}
            asked = redis.asyncio.sentinel.Sentinel(watched.sentinels, sentinel_kwargs=reaching)
            try:
                self.host, self.port = await asked.discover_master(watched.name)
            finally:
                for sentinel in asked.sentinels:
                    await sentinel.aclose()
            await super()._connect()

    return Led


def _led_blocking(kind: type[Any], watched: _Watched, options: Mapping[str, Any]) -> type[Any]:
    """The same, for connections that block."""

    class LedBlocking(kind):  # type: ignore[misc]
        def _connect(self) -> Any:
            reaching = watched.reaching(options, self.socket_connect_timeout) | {"retry": Retry(NoBackoff(), 0)}
            asked = redis.sentinel.Sentinel(watched.sentinels, sentinel_kwargs=reaching)
            try:
                self.host, self.port = asked.discover_master(watched.name)
            finally:
                for sentinel in asked.sentinels:
                    sentinel.close()
            return super()._connect()

    return LedBlocking
