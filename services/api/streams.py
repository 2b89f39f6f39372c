"""Live streams: one reader of the jobs' Redis streams a process, any number of listeners.

The reader hands each new entry to the job's listeners. A listener that does not keep up holds no memory: its buffer
is dropped, and it catches up from Redis, from the last id that it sent.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from redis.exceptions import ResponseError

from services.contract.timing import Timing
from services.store import keys
from services.store.connection import connect, is_away
from services.store.events import StreamEntry
from services.store.store import Store

log = logging.getLogger(__name__)

BUFFER = 256  # entries that a listener may lag behind the reader
PAGE = 50  # entries read at once when catching up


@dataclass(frozen=True)
class Gap:
    """Entries up to `trimmed_to` are gone."""

    trimmed_to: str


@dataclass(eq=False)
class Listener:
    """One client's place: entries after `last` wait in `buffer`, unless it `lags`."""

    job: str
    last: str
    buffer: deque[StreamEntry] = field(default_factory=deque)
    lags: bool = True
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, new: StreamEntry) -> None:
        if len(self.buffer) >= BUFFER:
            self.buffer.clear()
            self.lags = True
        if not self.lags:
            self.buffer.append(new)
        self.news.set()


class Streams:
    def __init__(self, store: Store, url: str, timing: Timing) -> None:
        self._redis, self._events, self._outage, self._timing = store.redis, store.events, store.outage, timing
        self._reader = connect(url, timing, block=timing.stream_block)
        self._reader_id: int | None = None
        self._listeners: dict[str, set[Listener]] = {}
        self._positions: dict[str, str] = {}
        self._changed = False  # a stream was added that the reader does not read yet
        self._anyone = asyncio.Event()

    async def listen(self, job: str, after: str, *, heartbeat: float) -> AsyncGenerator[StreamEntry | Gap | None, None]:
        """Every entry after the id `after`, then those to come, and a Gap where some were trimmed; None after
        `heartbeat` seconds of silence."""
        listener = Listener(job, after)
        try:
            await self._add(listener)
            while True:
                async for new in self._caught_up(listener):
                    yield new
                listener.news.clear()
                if listener.buffer or listener.lags:
                    continue
                try:
                    await asyncio.wait_for(listener.news.wait(), heartbeat)
                except TimeoutError:
                    yield None
        finally:
            self._remove(listener)

    @property
    def open(self) -> int:
        """How many listen."""
        return sum(len(listeners) for listeners in self._listeners.values())

    async def run(self) -> None:
        """The one reader. Never ends by itself."""
        while True:
            try:
                await self._anyone.wait()
                await self._read_once()
            except Exception as error:  # every live stream hangs on this one task
                if is_away(error):
                    self._outage.is_seen(error)
                else:
                    log.exception("the reader of the streams goes on after")
                self._reader_id = None
                self._lag_all()  # entries may come while nobody reads
                await asyncio.sleep(self._timing.stream_pause)

    async def aclose(self) -> None:
        await self._reader.aclose()

    # --- listeners -----------------------------------------------------------------------------------------------

    async def _caught_up(self, listener: Listener) -> AsyncIterator[StreamEntry | Gap]:
        """What waits: from Redis while the listener lags, else from its buffer."""
        while listener.lags:
            listener.lags = False  # from here on the reader fills the buffer; what Redis gives twice is skipped
            while page := await self._events.since(listener.job, listener.last, limit=PAGE):
                trimmed_to = await self._events.trimmed_to(listener.job)
                if order(listener.last) < order(trimmed_to) < order(page[0].id):
                    yield Gap(trimmed_to)
                for new in page:
                    listener.last = new.id
                    yield new
        while listener.buffer:
            new = listener.buffer.popleft()
            if order(new.id) > order(listener.last):
                listener.last = new.id
                yield new

    async def _add(self, listener: Listener) -> None:
        self._listeners.setdefault(listener.job, set()).add(listener)
        if listener.job not in self._positions:
            last = await self._events.last(listener.job)
            self._positions.setdefault(listener.job, last.id if last else "0-0")
            self._changed = True
            self._anyone.set()
            await self._interrupt()

    def _remove(self, listener: Listener) -> None:
        others = self._listeners.get(listener.job, set())
        others.discard(listener)
        if not others:
            self._listeners.pop(listener.job, None)
            self._positions.pop(listener.job, None)
        if not self._listeners:
            self._anyone.clear()

    def _lag_all(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.buffer.clear()
                listener.lags = True
                listener.news.set()

    # --- the reader ----------------------------------------------------------------------------------------------

    async def _read_once(self) -> None:
        if self._reader_id is None:
            self._reader_id = await self._reader.client_id()
        self._changed = False
        jobs = {keys.events(job): job for job in self._positions}
        if not jobs:
            await asyncio.sleep(0.01)  # a listener is just being added
            return
        positions = {name: self._positions[job] for name, job in jobs.items()}
        for name, entries in await self._reader.xread(positions, block=round(self._timing.stream_block * 1000)) or []:
            self._hand_out(jobs[name.decode()], [StreamEntry.of(raw) for raw in entries])
        self._outage.is_over()

    def _hand_out(self, job: str, entries: list[StreamEntry]) -> None:
        if job in self._positions:
            self._positions[job] = entries[-1].id
        for listener in self._listeners.get(job, ()):
            for new in entries:
                listener.take(new)

    async def _interrupt(self) -> None:
        """Wake the reader, so that it also reads the stream that was just added; again until it has seen it."""
        while self._changed and self._reader_id is not None:
            with contextlib.suppress(ResponseError):
                await self._redis.client_unblock(self._reader_id)
            await asyncio.sleep(0.005)


def order(id: str) -> tuple[int, int]:
    """A stream id as something that compares."""
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence or 0)
