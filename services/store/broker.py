"""kombu's transport for Redis, where the messages are only hints: nothing in Redis can end or strand its consumer.

Redis is reached as redis-py reads its URL, as for the records; what is no hint is dropped; where Redis answers and
refuses, the consumer pauses. kombu's bookkeeping of unacknowledged messages is off: hints are not acknowledged, and its
restoring left twelve connections a second behind on a Redis that refuses writes (measured).
"""

import logging
import os
import time
from contextlib import suppress
from queue import Empty
from typing import Any

from kombu.transport.redis import Channel, Transport
from redis.connection import Connection
from redis.exceptions import ReadOnlyError, ResponseError

from services.store.address import blocking_options_of

log = logging.getLogger(__name__)

TASK = "headway.train"


class Consumption:
    """How the consumer of a worker's hints fares: told by its thread, read by the heartbeat."""

    def __init__(self, pause: float) -> None:
        """`pause`: seconds until Redis is asked again after it refused."""
        self._pause, self._not_before, self._seen_at = pause, 0.0, time.monotonic()
        self._refusal: str | None = None
        self._has_dropped = False
        self._pipe: tuple[int, int] | None = None  # that a consumer's loop reads

    @property
    def silence(self) -> float:
        """Seconds since the consumer last came by."""
        return time.monotonic() - self._seen_at

    @property
    def refusal(self) -> str | None:
        """What Redis said when it was last asked for a hint, if it refused."""
        return self._refusal

    def is_woken_in(self, loop: Any) -> None:
        """By `wake`, from then on; also again, in another loop."""
        if self._pipe is None:
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
        loop.add_reader(self._pipe[0], os.read, self._pipe[0], 4096)

    def wake(self) -> None:
        """The consumer asks for hints now. While a task was worked on it asked for none, and of its end its loop hears
        with the next tick only, half a second later (measured)."""
        if self._pipe is not None:
            with suppress(BlockingIOError):  # it has been told often enough
                os.write(self._pipe[1], b"\0")

    @property
    def is_paused(self) -> bool:
        return time.monotonic() < self._not_before

    def is_seen(self) -> None:
        self._seen_at = time.monotonic()

    def is_refused(self, error: ResponseError) -> None:
        self._not_before = time.monotonic() + self._pause
        if self._refusal is None:
            log.warning("Redis gives no hints (%s); the line is looked at all the same", error)
        self._refusal = str(error)

    def is_answered(self) -> None:
        if self._refusal is not None:
            log.warning("Redis gives hints again")
        self._refusal = None

    def has_dropped(self, queue: str, error: Exception) -> None:
        if not self._has_dropped:
            log.warning("what lay in %s was no hint and is dropped (%r); this is said once", queue, error)
        self._has_dropped = True


class HintChannel(Channel):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._consumption: Consumption = self.connection.consumption

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """What a pool of connections is made with: the URL in redis-py's reading, so that it means the same twice."""
        options = self.connection.client.transport_options
        params: dict[str, Any] = {"db": 0, **blocking_options_of(options["url"])}
        timeouts = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
        if asynchronous:
            params["connection_class"] = self._polled(params["connection_class"])
        return params | timeouts

    def _polled(self, kind: type[Connection]) -> type[Connection]:
        """Whose end the poller is told, as kombu's own does it."""
        channel = self

        class Polled(kind):  # type: ignore[valid-type,misc]
            def disconnect(self, *args: Any, **kwargs: Any) -> None:
                super().disconnect(*args, **kwargs)
                if channel._registered:
                    channel._on_connection_disconnect(self)

        return Polled

    def _brpop_start(self, timeout: float | None = None) -> None:
        if not self._consumption.is_paused:
            super()._brpop_start(timeout)

    def _brpop_read(self, **options: Any) -> bool:
        """Raises Empty where no hint came, and the errors of a connection."""
        try:
            super()._brpop_read(**options)
        except ResponseError as error:
            self._consumption.is_refused(error)
            if isinstance(error, ReadOnlyError):  # a primary that was: the next connection may lead to the one that is
                self.client.connection.disconnect()
            raise Empty from None
        except self.connection_errors:
            raise
        except Empty:
            self._consumption.is_answered()
            raise
        except Exception as error:  # whatever its parser and Celery make of bytes that anyone may have pushed
            self._consumption.has_dropped(", ".join(self.active_queues), error)
            raise Empty from None
        finally:
            self._consumption.is_seen()
        self._consumption.is_answered()
        return True


class HintTransport(Transport):  # type: ignore[misc]
    Channel = HintChannel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.consumption: Consumption = client.transport_options["consumption"]

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        loop.on_tick.add(self.consumption.is_seen)
        self.consumption.is_woken_in(loop)

    def _deliver(self, message: Any, queue: str) -> None:
        if message["headers"]["task"] != TASK:
            raise ValueError(f"a message for {message['headers']['task']}")
        super()._deliver(message, queue)
