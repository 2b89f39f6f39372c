"""What happened to a job: its event stream, and the series of its losses."""

import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from services.contract.events import Event, NewEvent
from services.contract.transitions import Status
from services.store import keys
from services.store.commands import Redis, Value
from services.store.leases import Claim, write
from services.store.reading import readable
from services.store.record import Latest
from services.store.scripts import Scripts
from services.store.totals import Count

POINT = struct.Struct("<BIf")  # series of a trial, step, value; fp32 holds a training loss as it was computed
PIECE = POINT.size * 8192  # bytes of a series that are read at once
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

    @cached_property
    def data(self) -> str:
        """The event as clients get it, made once for all of them: what was stored, with its id."""
        return f'{{"id":"{self.id}","object":"fine_tuning.job.event",{self.json[1:]}'


class Events:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def emit(self, claim: Claim, batch: Batch) -> Status:
        """In one round trip. Raises Fenced."""
        events = json.dumps([event.model_dump_json() for event in batch.events])
        points = b"".join(point.packed() for point in batch.points)
        args: list[Value] = [batch.number, events, points, batch.last_step, json.dumps(dict(batch.counts))]
        args += batch.latest.as_fields()
        rest = await write(self._scripts, "emit", claim, args, more_keys=[keys.series(claim.job)])
        return Status(rest[0].decode())

    async def newest(self, id: str, *, after: str | None, limit: int) -> tuple[list[Event], bool]:
        """Newest first, from the one before `after`; and whether there are more."""
        if after and not any(map(int, after.split("-"))):
            return [], False  # nothing comes before it, and Redis will not be asked for that
        found = await self._redis.xrevrange(keys.events(id), f"({after}" if after else "+", "-", count=limit + 1)
        return list(readable(Event, (StreamEntry.of(raw).data for raw in found[:limit]))), len(found) > limit

    async def since(self, id: str, after: str, *, limit: int) -> list[StreamEntry]:
        """Oldest first, what came after the id `after`."""
        return [StreamEntry.of(raw) for raw in await self._redis.xrange(keys.events(id), f"({after}", "+", count=limit)]

    async def last(self, id: str) -> StreamEntry | None:
        found = await self._redis.xrevrange(keys.events(id), count=1)
        return StreamEntry.of(found[0]) if found else None

    async def trimmed_to(self, id: str) -> str:
        """The id of the last entry that the cap pushed out; "0-0" if none."""
        return (await self._redis.hget(keys.job(id), "trimmed_to") or b"0-0").decode()

    async def points(self, id: str) -> list[Point]:
        return [point_of(*packed) async for piece in self.pieces(id) for packed in POINT.iter_unpack(piece)]

    async def pieces(self, id: str) -> AsyncIterator[bytes]:
        """The series as it is now, some thousand points at a time."""
        end = await self._redis.strlen(keys.series(id))
        end -= end % POINT.size  # of a torn write
        for start in range(0, end, PIECE):
            yield await self._redis.getrange(keys.series(id), start, min(start + PIECE, end) - 1)


def point_of(name: int, step: int, value: float) -> Point:
    """As it was packed."""
    return Point(SERIES[name % len(SERIES)], step, value, name // len(SERIES))
