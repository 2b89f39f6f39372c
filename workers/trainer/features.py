"""Features: what the backbone gives for an image, computed once and kept on disk by the image's content.

A segment is a file written once and never changed, so readers and writers need no lock:

    8 s magic · u32 rows · u32 dim · u32 crc32 of all that follows · u32 zero
    rows × 32 bytes: sha256 of each image · rows × u32: 1 readable, 0 tombstone · rows × dim × f32

A torn or damaged one fails its checksum and is made again.
"""

import hashlib
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from workers.trainer.backbone import DIM
from workers.trainer.dataset import Example
from workers.trainer.images import PREPROCESS, Unreadable, pixels

MAGIC = b"HEADWAY1"
HEADER = struct.Struct("<8sIIII")
BATCH = 32  # fixed and padded: an image's features are the same to the bit whatever stands beside it
SEGMENT = 512  # rows a segment: what a killed extraction loses at most

Key = bytes  # sha256 of an image's bytes


class FeatureCache:
    """Rows by key, over all the segments of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: list[tuple[list[Key], torch.Tensor, list[bool]]] = []
        self._rows: dict[Key, torch.Tensor | None] = {}  # None is a tombstone: an image that cannot be decoded
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.features")):
            self._open(path)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def is_readable(self, key: Key) -> bool:
        return self._rows[key] is not None

    def gather(self, keys: Sequence[Key]) -> torch.Tensor:
        """(n, 512) float32, in the order of `keys`; zeros for tombstones."""
        rows = torch.zeros(len(keys), DIM)  # (n, 512)
        for index, key in enumerate(keys):
            row = self._rows[key]
            if row is not None:
                rows[index] = row
        return rows

    def add(self, keys: list[Key], rows: torch.Tensor, readable: list[bool]) -> None:
        """`rows` is (n, 512) float32. They are seen, and safe, from the next `flush` on."""
        self._pending.append((keys, rows, readable))
        if sum(len(keys) for keys, _, _ in self._pending) >= SEGMENT:
            self.flush()

    def flush(self) -> None:
        """Write what was added as one segment: it is there whole, or not at all."""
        if not self._pending:
            return
        keys = [key for keys, _, _ in self._pending for key in keys]
        rows = torch.cat([rows for _, rows, _ in self._pending])  # (n, 512)
        readable = [flag for _, _, flags in self._pending for flag in flags]
        self._pending.clear()
        body = b"".join(keys) + np.array(readable, "<u4").tobytes() + rows.numpy().astype("<f4").tobytes()
        path = self._folder / f"{uuid.uuid4().hex}.features"
        draft = path.with_suffix(".draft")
        try:
            draft.write_bytes(HEADER.pack(MAGIC, len(keys), DIM, zlib.crc32(body), 0) + body)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._open(path)

    def _open(self, path: Path) -> None:
        mapped = (
            np.memmap(path, mode="c") if path.stat().st_size > HEADER.size else None
        )  # copy on write: torch wants it
        if mapped is None or not _is_whole(mapped):
            path.unlink(missing_ok=True)
            return
        n = HEADER.unpack_from(mapped.data)[1]
        keys, flags = HEADER.size, HEADER.size + 32 * n
        readable = mapped[flags : flags + 4 * n].view("<u4")
        rows = torch.from_numpy(mapped[flags + 4 * n :].view("<f4").reshape(n, DIM))  # (n, 512)
        for index in range(n):
            key = mapped[keys + 32 * index : keys + 32 * (index + 1)].tobytes()
            self._rows[key] = rows[index] if readable[index] else None


def _is_whole(mapped: np.memmap) -> bool:
    magic, rows, dim, crc, _ = HEADER.unpack_from(mapped.data)
    size = HEADER.size + rows * (32 + 4 + 4 * DIM)
    return bool(magic == MAGIC and dim == DIM and mapped.size == size and zlib.crc32(mapped.data[HEADER.size :]) == crc)


def cache_folder(root: Path, tenant: str, weights_sha256: str, precision: str) -> Path:
    """Everything but the image that a feature depends on is in the folder's name."""
    space = hashlib.sha256(f"{PREPROCESS}\n{weights_sha256}\n{precision}".encode()).hexdigest()
    return root / tenant / space[:32]


@dataclass(frozen=True)
class Batch:
    """Images on their way through the backbone: `pixels` is (BATCH, 3, 224, 224), padded with zeros."""

    examples: list[Example]
    pixels: torch.Tensor
    unreadable: dict[Key, str]  # why

    @property
    def readable(self) -> list[bool]:
        return [example.key not in self.unreadable for example in self.examples]


def extract(
    examples: list[Example],
    backbone: nn.Module,
    device: torch.device,
    cache: FeatureCache,
    *,
    each: Callable[[Batch], None],
) -> None:
    """Compute what the cache lacks: read → decode → forward → store, a batch at a time.

    `each` is called after every batch and may end it by raising; what was computed by then is kept.
    """
    missing = {example.key: example for example in examples if example.key not in cache}
    try:
        for batch in _decoded(missing.values()):
            rows = _forward(batch.pixels, backbone, device)[: len(batch.examples)]  # (B, 512)
            cache.add([example.key for example in batch.examples], rows, batch.readable)
            each(batch)
    finally:
        cache.flush()


def _decoded(examples: Iterable[Example]) -> Iterator[Batch]:
    waiting = iter(examples)
    while chunk := list(islice(waiting, BATCH)):
        batch = Batch(chunk, torch.zeros(BATCH, 3, 224, 224), {})
        for place, example in enumerate(chunk):
            try:
                batch.pixels[place] = pixels(example.read())
            except Unreadable as error:
                batch.unreadable[example.key] = str(error)
        yield batch


@torch.inference_mode()
def _forward(pixels: torch.Tensor, backbone: nn.Module, device: torch.device) -> torch.Tensor:
    rows: torch.Tensor = backbone(pixels.to(device)).float().cpu()  # (BATCH, 512)
    return rows
