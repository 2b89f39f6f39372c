"""Live streams: one reader of Redis' streams a process, of jobs and of tenants' feeds; any number of listeners.

The reader hands each new entry to the stream's listeners. A listener that does not keep up holds no memory: its buffer
is dropped, and it catches up from Redis, from the last id that it sent.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from redis.exceptions import ResponseError

from services.contract.timing import Timing
from services.process.ending import end
from services.store.commands import StreamEntries
from services.store.connection import connect, is_away
from services.store.events import StreamEntry, order
from services.store.feeds import FeedEntry
from services.store.store import Store

log = logging.getLogger(__name__)

BUFFER = 256  # entries that a listener may lag behind the reader
PAGE = 50  # entries that a listener is given at once: some of them together cost little more than one
FEW = 32  # listeners that are woken together: some 2 ms of their sending
READ = 500  # entries of each stream that are read at once


Entry: TypeAlias = StreamEntry | FeedEntry


class Source(Protocol):
    """A stream in Redis: a job's, or a tenant's feed."""

    @property
    def key(self) -> str: ...

    async def since(self, after: str, *, limit: int) -> Sequence[Entry]: ...

    async def last(self) -> str: ...

    async def trimmed_to(self) -> str: ...

    async def entries(self, raws: StreamEntries) -> Sequence[Entry]: ...


@dataclass(frozen=True)
class Gap:
    """Entries up to `trimmed_to` are gone."""

    trimmed_to: str


News: TypeAlias = Entry | Gap


@dataclass(eq=False)
class Listener:
    """One client's place: entries after `last` wait in `buffer`, unless it `lags`."""

    source: Source
    last: str
    buffer: deque[Entry] = field(default_factory=deque)
    lags: bool = True
    news: asyncio.Future[None] | None = None  # who waits for some

    def take(self, new: Entry) -> None:
        if len(self.buffer) >= BUFFER:
            self.lose()
        if not self.lags:
            self.buffer.append(new)
        self._wake()

    def lose(self) -> None:
        """Its buffer: from here on it reads from Redis what it has not given."""
        self.buffer.clear()
        self.lags = True
        self._wake()

    def _wake(self) -> None:
        if self.news is not None and not self.news.done():
            self.news.set_result(None)

    def next_few(self) -> list[Entry]:
        """Of the buffer, what was not given yet."""
        few: list[Entry] = []
        while self.buffer and len(few) < PAGE:
            new = self.buffer.popleft()
            if order(new.id) > order(self.last):
                self.last = new.id
                few.append(new)
        return few


class Streams:
    def __init__(self, store: Store, url: str, timing: Timing) -> None:
        self._redis, self._outage, self._timing = store.redis, store.outage, timing
        self._reader = connect(url, timing, block=timing.stream_block)
        self._reader_id: int | None = None
        self._listeners: dict[str, set[Listener]] = {}  # by their stream's key
        self._positions: dict[str, str] = {}
        self._changed = False  # a stream was added that the reader does not read yet
        self._anyone = asyncio.Event()

    async def listen(
        self, source: Source, after: str, closing: asyncio.Event, *, heartbeat: float
    ) -> AsyncGenerator[list[News], None]:
        """Every entry after the id `after`, then those to come, some at a time, and a Gap where some were trimmed;
        none after `heartbeat` seconds of silence. Ends as the service closes."""
        listener, ending = Listener(source, after), asyncio.ensure_future(closing.wait())
        try:
            await self._add(listener)
            while not closing.is_set():
                async for news in self._caught_up(listener):
                    yield news
                if listener.buffer or listener.lags:
                    continue
                listener.news = asyncio.get_running_loop().create_future()
                waited_for = (listener.news, ending)
                done, _ = await asyncio.wait(waited_for, timeout=heartbeat, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    yield []
        finally:
            self._remove(listener)
            await end(ending)

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

    async def _caught_up(self, listener: Listener) -> AsyncIterator[list[News]]:
        """What waits: from Redis while the listener lags, else from its buffer."""
        while listener.lags:
            listener.lags = False  # from here on the reader fills the buffer; what Redis gives twice is skipped
            while page := await listener.source.since(listener.last, limit=PAGE):
                trimmed_to = await listener.source.trimmed_to()
                if order(listener.last) < order(trimmed_to) < order(page[0].id):
                    yield [Gap(trimmed_to)]
                listener.last = page[-1].id
                yield [*page]
        while waiting := listener.next_few():
            yield [*waiting]

    async def _add(self, listener: Listener) -> None:
        key = listener.source.key
        self._listeners.setdefault(key, set()).add(listener)
        if key not in self._positions:
            self._positions.setdefault(key, await listener.source.last())
            self._changed = True
            self._anyone.set()
            await self._interrupt()

    def _remove(self, listener: Listener) -> None:
        key = listener.source.key
        others = self._listeners.get(key, set())
        others.discard(listener)
        if not others:
            self._listeners.pop(key, None)
            self._positions.pop(key, None)
        if not self._listeners:
            self._anyone.clear()

    def _lag_all(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.lose()

    # --- the reader ----------------------------------------------------------------------------------------------

    async def _read_once(self) -> None:
        if self._reader_id is None:
            self._reader_id = await self._reader.client_id()
        self._changed = False
        positions = dict(self._positions)
        if not positions:
            await asyncio.sleep(0.01)  # a listener is just being added
            return
        block = round(self._timing.stream_block * 1000)
        for name, raws in await self._reader.xread(positions, block=block, count=READ) or []:
            await self._hand_out(name.decode(), raws)
        self._outage.is_over()

    async def _hand_out(self, key: str, raws: StreamEntries) -> None:
        """To a few listeners at a time, so that requests come in between; what comes meanwhile is read together."""
        listeners = tuple(self._listeners.get(key, ()))
        if not listeners:
            return
        entries = await listeners[0].source.entries(raws)
        if key in self._positions:
            self._positions[key] = entries[-1].id
        for number, listener in enumerate(listeners, 1):
            for new in entries:
                listener.take(new)
            if number % FEW == 0:
                await asyncio.sleep(self._timing.stream_rest)

    async def _interrupt(self) -> None:
        """Wake the reader, so that it also reads the stream that was just added; again until it has seen it."""
        while self._changed and self._reader_id is not None:
            with contextlib.suppress(ResponseError):
                await self._redis.client_unblock(self._reader_id)
            await asyncio.sleep(0.005)
