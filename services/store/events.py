"""What happened to a job: its event stream, and the series of its losses."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.contract.events import Event, Said
from services.contract.transitions import Status
from services.store import keys
from services.store.connection import Redis
from services.store.leases import Claim, write
from services.store.scripts import Scripts

POINT = struct.Struct("<BIf")  # series, step, value; fp32 holds a training loss as it was computed
SERIES = ("train_loss", "val_loss", "val_accuracy")


class Point(NamedTuple):
    series: str
    step: int
    value: float


@dataclass(frozen=True)
class Entry:
    """An event as it lies in the stream; `final` says that the job ended with it."""

    id: str
    json: str
    final: bool

    @property
    def event(self) -> Event:
        return Event(id=self.id, **json.loads(self.json))


class Events:
    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis, self._scripts = redis, scripts

    async def emit(
        self, claim: Claim, batch: int, said: Sequence[Said], points: Sequence[Point], latest: Mapping[str, str]
    ) -> Status:
        """One flush of a trainer in one round trip. `latest` are fields of the record. Raises Fenced."""
        last_step = max((point.step for point in points if point.series == "train_loss"), default=0)
        validated = [point.step for point in points if point.series != "train_loss"]
        fields = {**latest, "last_val_step": str(validated[-1])} if validated else latest
        events = json.dumps([event.model_dump_json() for event in said])
        packed = b"".join(POINT.pack(SERIES.index(p.series), p.step, p.value) for p in points)
        flat = [part for item in fields.items() for part in item]
        args: list[Any] = [batch, events, packed, last_step, *flat]
        rest = await write(self._scripts, "emit", claim, args, more_keys=[keys.series(claim.job)])
        return Status(rest[0].decode())

    async def newest(self, id: str, *, after: str | None, limit: int) -> tuple[list[Event], bool]:
        """Newest first, from the one before `after`; and whether there are more."""
        if after in ("0", "0-0"):
            return [], False  # nothing comes before it, and Redis will not be asked for that
        found = await self._redis.xrevrange(keys.events(id), f"({after}" if after else "+", "-", count=limit + 1)
        return [entry(raw).event for raw in found[:limit]], len(found) > limit

    async def since(self, id: str, after: str, *, limit: int) -> list[Entry]:
        """Oldest first, what came after the id `after`."""
        return [entry(raw) for raw in await self._redis.xrange(keys.events(id), f"({after}", "+", count=limit)]

    async def last(self, id: str) -> Entry | None:
        found = await self._redis.xrevrange(keys.events(id), count=1)
        return entry(found[0]) if found else None

    async def trimmed_to(self, id: str) -> str:
        """The id of the last entry that the cap pushed out; "0-0" if none."""
        return str((await self._redis.hget(keys.job(id), "trimmed_to") or b"0-0").decode())

    async def points(self, id: str) -> list[Point]:
        packed = await self._redis.get(keys.series(id)) or b""
        return [Point(SERIES[series], step, value) for series, step, value in POINT.iter_unpack(packed)]


def entry(raw: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    id, fields = raw
    return Entry(id.decode(), fields[b"event"].decode(), fields[b"final"] == b"1")
