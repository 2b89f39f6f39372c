"""How Redis is reached, from its URL: as redis-py reads it, or by Sentinels, who say which of several is the primary.

Who opens a connection asks them, so that after a failover the next one leads to the new primary. For redis-py it is
only another kind of connection, and lies in the pools that any URL gets.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from redis.retry import Retry

from services.contract.addresses import SENTINEL_SCHEMES, sentinels_of

# What a URL may say after its question mark: all else is ours to say, or would end in silence.
TLS_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
TLS = (*TLS_FILES, "ssl_password", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers")
TIMES = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval")
PLAIN = ("db", "username", "password", "client_name", "protocol", "retry_on_timeout")
OPTIONS = frozenset((*PLAIN, *TIMES, *TLS))
YES, NO = {"true", "yes", "1"}, {"false", "no", "0"}
OF_SENTINELS = frozenset(f"sentinel_{name}" for name in ("username", "password", "ssl", "socket_keepalive", *TLS))


class SentinelsRefuse(ConnectionError):
    """They answer, and do not say which is the primary: asked again, they would say the same."""


def refusal_to_connect(url: str) -> str | None:
    """What no connection can be made of, in a sentence that does not show the password. Nothing is asked for it."""
    known = OPTIONS | (OF_SENTINELS if is_watched(url) else frozenset())
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    if unknown := sorted(set(given) - known):
        return f"HEADWAY_REDIS_URL: its option {unknown[0]} is not known here: {', '.join(sorted(known))} are."
    for name in (*TLS_FILES, *(f"sentinel_{name}" for name in TLS_FILES)):
        if name in given and not os.access(given[name], os.R_OK):
            return f"HEADWAY_REDIS_URL: its {name}, {given[name]}, is not there, or not ours to read."
    try:
        for connection in _connections(url):
            if (of_tls := getattr(connection, "ssl_context", None)) is not None:
                of_tls.get()
    except TypeError as error:
        of_tls = next((name for name in given if "ssl_" in name), None)
        return f"HEADWAY_REDIS_URL: {f'its {of_tls} needs rediss://' if of_tls else error}."
    except (ValueError, RedisError, OSError) as error:  # TLS' errors are OSErrors
        return f"HEADWAY_REDIS_URL: {str(error.args[-1] if error.args else error).rstrip('.')}."
    return None


def _connections(url: str) -> Iterator[Any]:
    """To Redis, and to a Sentinel; none is opened. Raises TypeError, ValueError, RedisError."""
    options = options_of(url)
    yield redis.asyncio.ConnectionPool(**options).make_connection()
    if (watched := _Watched.of(url)) is not None:
        yield redis.asyncio.Redis(**watched.reaching(options, None)).connection_pool.make_connection()


def is_watched(url: str) -> bool:
    """Whether Sentinels say which is the primary."""
    return urlsplit(url).scheme in SENTINEL_SCHEMES


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
        own = {n.removeprefix("sentinel_"): query.pop(n) for n in list(query) if n.startswith("sentinel_")}
        ssl = own.pop("ssl", "yes" if parts.scheme.startswith("rediss") else "no").lower()
        if ssl not in YES | NO:
            raise ValueError(f"its sentinel_ssl is neither true nor false, but {ssl!r}")
        self.ssl = ssl in YES
        self.own: dict[str, Any] = redis.connection.parse_url(f"redis://?{urlencode(own)}")
        self.direct = f"{SENTINEL_SCHEMES[parts.scheme]}://{user}{at}primary/{db}?{urlencode(query)}"
        self.sentinels = sentinels_of(parts.netloc)

    @classmethod
    def of(cls, url: str) -> "_Watched | None":
        return cls(url) if is_watched(url) else None

    def reaching(self, options: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        """What each Sentinel is reached with: its own user, the primary's TLS; all together take `seconds` at most."""
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        each = seconds and seconds / len(self.sentinels)
        timeouts = {"socket_timeout": each, "socket_connect_timeout": each}
        return {**tls, **timeouts, **self.own, "ssl": self.ssl, "decode_responses": True}

    def primary(self, options: Mapping[str, Any], seconds: float | None) -> tuple[str, int]:
        """Where it is now; it blocks. Who answers is asked first from now on. Raises SentinelsRefuse where one answered
        and none could say it, else what the last one did: ConnectionError, TimeoutError."""
        away: Exception | None = None
        refused: Exception | None = None
        reaching = self.reaching(options, seconds) | {"retry": Retry(NoBackoff(), 0)}
        for sentinel in self.sentinels:
            with redis.Redis(host=sentinel[0], port=sentinel[1], **reaching) as asked:
                try:
                    found: Any = asked.sentinel_get_master_addr_by_name(self.name)
                except (ConnectionError, TimeoutError) as error:
                    away = error
                    continue
                except RedisError as error:
                    refused = SentinelsRefuse(f"a Sentinel says {error}")
                    continue
            if found is not None:
                self.sentinels = [sentinel, *(other for other in self.sentinels if other != sentinel)]
                return str(found[0]), int(found[1])
            refused = refused or SentinelsRefuse(f"no Sentinel knows {self.name}")
        raise refused or away or ConnectionError("there is no Sentinel")


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
