"""What happened to a job: its event stream, and the series of its losses."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from services.contract.events import Event, NewEvent
from services.contract.transitions import Status
from services.located import Ranges, size_of
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.commands import Redis, StreamEntries, Value
from services.store.leases import Claim, write
from services.store.reading import readable
from services.store.record import Latest
from services.store.scripts import Scripts
from services.store.totals import Count

POINT = struct.Struct("<BIf")  # series of a trial, step, value; fp32 holds a training loss as it was computed
PIECE = POINT.size * 8192  # bytes of a series that are read at once
READ = 500  # entries that are looked through at once
SERIES = ("train_loss", "val_loss", "val_accuracy")  # a trial's; those of 64 trials fit a byte


class Point(NamedTuple):
    """`step` is the trial's own."""

    series: str
    step: int
    value: float
    trial: int = 0

    def packed(self) -> bytes:
        return POINT.pack(len(SERIES) * self.trial + SERIES.index(self.series), self.step, self.value)


@dataclass(frozen=True)
class Batch:
    """One flush of a trainer. `last_step` is the job's."""

    number: int
    events: Sequence[NewEvent] = ()
    points: Sequence[Point] = ()
    latest: Latest = field(default_factory=Latest)
    last_step: int = 0
    counts: Mapping[Count, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StreamEntry:
    """An event as it lies in the stream; `final` says that the job ended with it."""

    id: str
    json: str
    final: bool

    @classmethod
    def of(cls, raw: tuple[bytes, dict[bytes, bytes]]) -> "StreamEntry":
        id, fields = raw
        return cls(id.decode(), fields[b"event"].decode(), fields[b"final"] == b"1")

    @classmethod
    def of_line(cls, line: bytes) -> "StreamEntry":
        return cls(**json.loads(line))

    @property
    def line(self) -> bytes:
        """As it lies in the store of bytes."""
        return json.dumps({"id": self.id, "json": self.json, "final": self.final}).encode() + b"\n"

    @cached_property
    def data(self) -> str:
        """The event as clients get it, made once for all of them: what was stored, with its id."""
        return f'{{"id":"{self.id}","object":"fine_tuning.job.event",{self.json[1:]}'


@dataclass(frozen=True)
class JobStream:
    """One job's events, as a stream to follow."""

    events: "Events"
    job: str

    @property
    def key(self) -> str:
        return keys.events(self.job)

    async def since(self, after: str, *, limit: int) -> list[StreamEntry]:
        """Oldest first, what came after the id `after`."""
        return await self.events.since(self.job, after, limit=limit)

    async def last(self) -> str:
        """The id of the newest entry; "0-0" if there is none."""
        last = await self.events.last(self.job)
        return last.id if last else "0-0"

    async def trimmed_to(self) -> str:
        return await self.events.trimmed_to(self.job)

    async def entries(self, raws: StreamEntries) -> list[StreamEntry]:
        return [StreamEntry.of(raw) for raw in raws]


class Events:
    def __init__(self, redis: Redis, scripts: Scripts, blobs: Blobs) -> None:
        self._redis, self._scripts, self._blobs = redis, scripts, blobs
        self._kept: tuple[str, list[StreamEntry]] = "", []

    async def emit(self, claim: Claim, batch: Batch) -> Status:
        """In one round trip. Raises Fenced."""
        events = json.dumps([event.model_dump_json() for event in batch.events])
        points = b"".join(point.packed() for point in batch.points)
        args: list[Value] = [batch.number, events, points, batch.last_step, json.dumps(dict(batch.counts))]
        args += batch.latest.as_fields()
        rest = await write(self._scripts, "emit", claim, args, more_keys=[keys.series(claim.job)])
        return Status(rest[0].decode())

    def of_job(self, id: str) -> JobStream:
        return JobStream(self, id)

    async def newest(
        self, id: str, *, after: str | None, limit: int, type: str | None = None
    ) -> tuple[list[Event], bool]:
        """Newest first, from the one before `after`, of one type if that is given; and whether there are more."""
        found = await (
            self._before(id, after, limit + 1) if type is None else self._of_type(id, after, limit + 1, type)
        )
        return list(readable(Event, (entry.data for entry in found[:limit]))), len(found) > limit

    async def since(self, id: str, after: str, *, limit: int) -> list[StreamEntry]:
        """Oldest first, what came after the id `after`."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xrange(keys.events(id), f"({after}", "+", count=limit)
            pipe.hget(keys.job(id), "history")
            raws, place = await pipe.execute()
        if raws or place is None:
            return [StreamEntry.of(raw) for raw in raws]
        return [old for old in await self._put_away(place.decode()) if order(old.id) > order(after)][:limit]

    async def last(self, id: str) -> StreamEntry | None:
        found = await self._before(id, None, 1)
        return found[0] if found else None

    async def trimmed_to(self, id: str) -> str:
        """The id of the last entry that the cap pushed out; "0-0" if none."""
        return (await self._redis.hget(keys.job(id), "trimmed_to") or b"0-0").decode()

    async def points(self, id: str) -> list[Point]:
        return [point_of(*packed) async for piece in self.pieces(id) for packed in POINT.iter_unpack(piece)]

    async def pieces(self, id: str) -> AsyncIterator[bytes]:
        """The series as it is now, some thousand points at a time."""
        end = await self._redis.strlen(keys.series(id)) or await self._size_put_away(id)
        end -= end % POINT.size  # of a torn write
        for start in range(0, end, PIECE):
            stop = min(start + PIECE, end)
            piece = await self._redis.getrange(keys.series(id), start, stop - 1)
            yield piece or await self._piece_put_away(id, start, stop)

    async def _of_type(self, id: str, before: str | None, count: int, type: str) -> list[StreamEntry]:
        """Newest first; a job keeps some thousand of them at most."""
        found: list[StreamEntry] = []
        while len(found) < count and (some := await self._before(id, before, READ)):
            found += [entry for entry in some if json.loads(entry.json)["type"] == type]
            before = some[-1].id
        return found[:count]

    # --- of ended jobs, in the store of bytes --------------------------------------------------------------------

    async def _before(self, id: str, before: str | None, count: int) -> list[StreamEntry]:
        """Newest first."""
        if before and not any(order(before)):
            return []  # nothing comes before it, and Redis will not be asked for that
        raws = await self._redis.xrevrange(keys.events(id), f"({before}" if before else "+", "-", count=count)
        place = None if raws else await self._place(id)
        if place is None:
            return [StreamEntry.of(raw) for raw in raws]
        old = await self._put_away(place)
        return [entry for entry in reversed(old) if before is None or order(entry.id) < order(before)][:count]

    async def _place(self, id: str) -> str | None:
        place = await self._redis.hget(keys.job(id), "history")
        return place.decode() if place else None

    async def _put_away(self, place: str) -> list[StreamEntry]:
        """Of the job that was asked for last they are kept: its pages are asked for one by one."""
        kept, entries = self._kept
        if kept == place:
            return entries
        with suppress(FileNotFoundError):
            lines = await asyncio.to_thread(self._blobs.get, places.events(place))
            entries = [StreamEntry.of_line(line) for line in lines.splitlines()]
            self._kept = place, entries
            return entries
        return []

    async def _size_put_away(self, id: str) -> int:
        place = await self._place(id)
        with suppress(FileNotFoundError):
            return await asyncio.to_thread(self._series_size, places.series(place)) if place else 0
        return 0

    async def _piece_put_away(self, id: str, start: int, stop: int) -> bytes:
        place = await self._place(id)
        with suppress(FileNotFoundError):
            if place is not None:
                return await asyncio.to_thread(self._series_piece, places.series(place), start, stop)
        return b""

    def _series_size(self, place: str) -> int:
        return size_of(self._blobs.where(place))

    def _series_piece(self, place: str, start: int, stop: int) -> bytes:
        with closing(Ranges(self._blobs.where(place))) as series:
            return series.read(start, stop - start)


def order(id: str) -> tuple[int, int]:
    """A stream id as something that compares."""
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence or 0)


def point_of(name: int, step: int, value: float) -> Point:
    """As it was packed."""
    return Point(SERIES[name % len(SERIES)], step, value, name // len(SERIES))
