"""How Redis is reached, from its URL: as redis-py reads it, or by Sentinels, who say which of several is the primary.

Who opens a connection asks them, so that after a failover the next one leads to the new primary. For redis-py it is
only another kind of connection, and lies in the pools that any URL gets.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry

from services.contract.addresses import SENTINEL_SCHEMES, sentinels_of


def sentinel_refusal(url: str) -> str | None:
    """The option that a connection to a Sentinel does not know, if there is one."""
    watched = _Watched.of(url)
    try:
        redis.Redis(**watched.reaching({}, None)) if watched else None
    except TypeError as error:
        return str(error).replace("'", "'sentinel_", 1)
    return None


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


class _Watched:
    """A primary that Sentinels watch. `direct` is its URL, but for host and port; `own` leads to the Sentinels."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        self.name, _, db = parts.path.removeprefix("/").partition("/")
        query = dict(parse_qsl(parts.query))
        self.own = {n.removeprefix("sentinel_"): query.pop(n) for n in list(query) if n.startswith("sentinel_")}
        self.direct = f"{SENTINEL_SCHEMES[parts.scheme]}://{user}{at}primary/{db}?{urlencode(query)}"
        self.sentinels = sentinels_of(parts.netloc)

    @classmethod
    def of(cls, url: str) -> "_Watched | None":
        return cls(url) if urlsplit(url).scheme in SENTINEL_SCHEMES else None

    def reaching(self, options: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        """What each Sentinel is reached with: its own user, the primary's TLS; all together take `seconds` at most."""
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        each = seconds and seconds / len(self.sentinels)
        timeouts = {"socket_timeout": each, "socket_connect_timeout": each}
        return {**tls, **timeouts, **self.own, "ssl": self.direct.startswith("rediss://"), "decode_responses": True}

    def primary(self, options: Mapping[str, Any], seconds: float | None) -> tuple[str, int]:
        """Where it is now; it blocks. Who answers is asked first from now on. Raises what the last one did, where none
        could say it, a ConnectionError."""
        last: Exception | None = None
        reaching = self.reaching(options, seconds) | {"retry": Retry(NoBackoff(), 0)}
        for sentinel in self.sentinels:
            with redis.Redis(host=sentinel[0], port=sentinel[1], **reaching) as asked:
                try:
                    found: Any = asked.sentinel_get_master_addr_by_name(self.name)
                except RedisError as error:
                    last = error
                    continue
            if found is not None:
                self.sentinels = [sentinel, *(other for other in self.sentinels if other != sentinel)]
                return str(found[0]), int(found[1])
        raise last if isinstance(last, ConnectionError) else ConnectionError(f"no Sentinel knows {self.name} ({last})")


def _led(kind: type[Any], watched: _Watched, options: Mapping[str, Any]) -> type[Any]:
    """A kind of connection that leads to whatever is the primary as it is opened."""

    class Led(kind):  # type: ignore[misc]
        async def _connect(self) -> None:
            self.host, self.port = await asyncio.to_thread(watched.primary, options, self.socket_connect_timeout)
            await super()._connect()

    return Led


def _led_blocking(kind: type[Any], watched: _Watched, options: Mapping[str, Any]) -> type[Any]:
    """The same, for connections that block."""

    class LedBlocking(kind):  # type: ignore[misc]
        def _connect(self) -> Any:
            self.host, self.port = watched.primary(options, self.socket_connect_timeout)
            return super()._connect()

    return LedBlocking
