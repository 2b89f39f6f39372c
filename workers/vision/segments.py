"""The feature cache: what the backbone gave for an image, kept on disk by the image's content.

A segment is a file written once and never changed, so readers and writers of one folder need no lock:

    what `segmentfile` says · rows × u32: 1 readable, 0 tombstone · rows × dim × f32 · what was said, as JSON, by key

A torn or damaged one fails its checksum and is made again. What was not used for longest goes first.
"""

import hashlib
import os
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from services.contract.preflight import kind_of
from services.contract.spec import Prepared
from services.contract.timing import TrainerTiming
from workers.vision.arrays import Floats
from workers.vision.backbone import DIM
from workers.vision.decoding import preprocess
from workers.vision.engines import major_version
from workers.vision.segmentfile import CHECK, KEY, MAGIC, SHAPE, split_keys

SEGMENT = 512  # rows a segment, or what came within `timing.segment`

Key: TypeAlias = bytes  # sha256 of an image's bytes


class Said(BaseModel):
    """Of an image that was decoded: why it cannot be, and what should be known of it."""

    unreadable: str | None = None
    notes: list[str] = []


SAID = TypeAdapter(dict[str, Said])


@dataclass(frozen=True)
class Segment:
    """Rows of one file: `rows` is (n, 512) float32, `readable` (n,) bool, `said` of some of its images."""

    keys: list[Key]
    rows: Floats
    readable: NDArray[np.bool]
    seconds: float  # that an image took
    said: Mapping[Key, Said] = field(default_factory=dict)


class FeatureCache:
    """The features of some images: `places[key]` are the rows that they take, as equal images share theirs.

    `rows` is (n, 512) float32, `readable` and `there` (n,) bool, `seconds` (n,) what each once took: filled from the
    folder at once, and by `add`.
    """

    def __init__(self, folder: Path, places: Mapping[Key, Sequence[int]], timing: TrainerTiming) -> None:
        self._folder, self._places, self._timing = folder, places, timing
        n = sum(map(len, places.values()))
        self.rows = torch.zeros(n, DIM)
        self.readable, self.there = torch.zeros(n, dtype=torch.bool), np.zeros(n, dtype=np.bool)
        self.seconds = np.zeros(n)
        self.said: dict[Key, Said] = {}
        self._pending: list[Segment] = []
        self._flushed = time.monotonic()
        for path in sorted(folder.glob("*.features")):
            with suppress(OSError):  # deleted just now, which anyone may do at any time, or not ours to read
                self._read(path)

    def add(self, keys: list[Key], rows: torch.Tensor, said: Mapping[Key, Said], seconds: float) -> None:
        """`rows` is (n, 512) float32, zeros where not readable, and `seconds` what they took together. They are there
        at once, and safe from the next flush on."""
        segment = segment_of(keys, rows, said, seconds)
        self._fill(segment)
        self._pending.append(segment)

    @property
    def is_due(self) -> bool:
        """Whether it is time to flush."""
        full = sum(len(part.keys) for part in self._pending) >= SEGMENT
        return full or time.monotonic() - self._flushed >= self._timing.segment

    def has(self, key: Key) -> bool:
        """Also where it is none of its images."""
        places = self._places.get(key)
        return places is None or bool(self.there[places[0]])

    def absorb(self, content: bytes) -> None:
        """A segment that comes from elsewhere. Raises OSError."""
        self._read(self._write(content))

    def segment(self, keys: list[Key]) -> Segment:
        """Of images that are there."""
        at = [self._places[key][0] for key in keys]
        said = {key: self.said[key] for key in keys if key in self.said}
        return Segment(keys, self.rows.numpy()[at], self.readable.numpy()[at], float(self.seconds[at].mean()), said)

    def flush(self) -> None:
        """Write what was added as one segment: it is there whole, or not at all, and then not tried again. Raises
        OSError."""
        self._flushed = time.monotonic()
        pending, self._pending = self._pending, []
        if pending:
            with suppress(FileNotFoundError):  # deleted under us: this job's features are at hand all the same
                self._write(packed(joined(pending)))

    def _write(self, content: bytes) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid.uuid4().hex}.features"
        draft = path.with_suffix(".draft")
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return path

    def _read(self, path: Path) -> None:
        """Fill in what the segment has: only where it has any, all of it is read and checked."""
        mapped = _mapped(path)
        segment = None if mapped is None else _unpacked(mapped)
        if mapped is None or segment is None:
            path.unlink(missing_ok=True)
        elif any(key in self._places for key in segment.keys):
            if not _is_whole(mapped):
                path.unlink(missing_ok=True)
                return
            self._fill(segment)
            os.utime(path)  # it is in use

    def _fill(self, segment: Segment) -> None:
        pairs = [(to, origin) for origin, key in enumerate(segment.keys) for to in self._places.get(key, ())]
        to, origins = map(list, zip(*pairs, strict=True))
        self.rows.numpy()[to] = segment.rows[origins]
        self.readable.numpy()[to] = segment.readable[origins]
        self.seconds[to] = segment.seconds
        self.there[to] = True
        self.said |= {key: said for key, said in segment.said.items() if key in self._places}


def segment_of(keys: list[Key], rows: torch.Tensor, said: Mapping[Key, Said], seconds: float) -> Segment:
    """`seconds`: what all of them took."""
    readable = np.array([key not in said or said[key].unreadable is None for key in keys])
    return Segment(keys, rows.numpy(), readable, seconds / len(keys), said)


def cache_folder(root: Path, tenant: str, weights_sha256: str, prepared: Prepared) -> Path:
    """Everything but the image that a feature depends on is in the folder's name: decoder, scale, weights, precision,
    engine and kind of device."""
    engine = f"{prepared.engine} {major_version(prepared.engine)} on {kind_of(prepared.device)}"
    facts = preprocess(prepared.precision, torch.device(prepared.device)), weights_sha256, prepared.precision, engine
    space = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return root / tenant / space[:32]


def trim(tenant: Path, limit: int, timing: TrainerTiming) -> None:
    """Delete a tenant's least recently used segments until the rest takes `limit` bytes at most."""
    for draft in tenant.glob("*/*.draft"):
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > timing.draft:
                draft.unlink()
    found = []
    for path in tenant.glob("*/*.features"):
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    surplus = sum(size for _, size, _ in found) - limit
    for _, size, path in sorted(found):
        if surplus <= 0:
            return
        path.unlink(missing_ok=True)
        surplus -= size


def read_segment(path: Path) -> Segment | None:
    """None where it is torn or damaged. Raises OSError."""
    mapped = _mapped(path)
    return _unpacked(mapped) if mapped is not None and _is_whole(mapped) else None


def packed(segment: Segment) -> bytes:
    shape = SHAPE.pack(len(segment.keys), DIM, segment.seconds)
    flags, rows = segment.readable.astype("<u4").tobytes(), segment.rows.astype("<f4").tobytes()
    said = SAID.dump_json({key.hex(): said for key, said in segment.said.items()}, exclude_defaults=True)
    body = b"".join([shape, *segment.keys, flags, rows, said])
    return CHECK.pack(MAGIC, zlib.crc32(body)) + body


def _mapped(path: Path) -> np.memmap | None:
    return np.memmap(path, mode="r") if path.stat().st_size > CHECK.size + SHAPE.size else None


def _is_whole(mapped: np.memmap) -> bool:
    return bool(CHECK.unpack_from(mapped.data)[1] == zlib.crc32(mapped.data[CHECK.size :]))


def _unpacked(mapped: np.memmap) -> Segment | None:
    """None where the file cannot be one of ours. Its checksum is still to be compared."""
    n, dim, seconds = SHAPE.unpack_from(mapped.data, CHECK.size)
    start = CHECK.size + SHAPE.size
    flags, rows = start + KEY * n, start + (KEY + 4) * n
    said = rows + 4 * DIM * n
    if mapped[: len(MAGIC)].tobytes() != MAGIC or dim != DIM or mapped.size < said:
        return None
    keys = mapped[start:flags].tobytes()
    return Segment(
        keys=split_keys(keys),
        rows=mapped[rows:said].view("<f4").reshape(n, DIM),
        readable=mapped[flags:rows].view("<u4") != 0,
        seconds=seconds,
        said=_parsed(mapped[said:].tobytes()),
    )


def _parsed(said: bytes) -> dict[Key, Said]:
    with suppress(ValueError):  # of a damaged segment, which its checksum tells
        return {bytes.fromhex(key): of for key, of in SAID.validate_json(said or b"{}").items()}
    return {}


def joined(parts: Sequence[Segment]) -> Segment:
    keys = [key for part in parts for key in part.keys]
    return Segment(
        keys=keys,
        rows=np.concatenate([part.rows for part in parts]),
        readable=np.concatenate([part.readable for part in parts]),
        seconds=sum(part.seconds * len(part.keys) for part in parts) / len(keys),
        said={key: said for part in parts for key, said in part.said.items()},
    )
