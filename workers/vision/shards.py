"""The order of a pass over images, of which others may compute parts: the owner takes the earliest shard that is free.
It never waits: where none is, it does again the one that its helper comes to last, so that they meet in the middle.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch

from services.contract.shards import FEWEST, SharedNews, shard_size
from workers.vision.pipeline import Extracted
from workers.vision.segments import Key, Segment, read_segment


class Helpers(Protocol):
    """Those who may help with a pass, as far as its owner knows of them."""

    def begin(self, keys: Sequence[Key], size: int) -> None:
        """The pass, in the order of need, may be helped with."""
        ...

    def take(self, shard: int) -> None:
        """The owner begins with it."""
        ...

    def news(self) -> SharedNews | None:
        """What is new, if anything; it never waits."""
        ...


class Pass:
    """`keys` are unique, in the order of need; `is_there` says whether an image's features are."""

    def __init__(
        self, keys: Sequence[Key], batch: int, is_there: Callable[[Key], bool], helpers: Helpers | None
    ) -> None:
        self._batch, self._size = batch, shard_size(len(keys), batch)
        self._shards = [keys[at : at + self._size] for at in range(0, len(keys), self._size)]
        self._is_there, self._helpers = is_there, helpers if len(self._shards) >= FEWEST else None
        self._taken: set[int] = set()
        self._leased: set[int] = set()
        self._first = 0  # all before it are taken, or there
        if self._helpers is not None:
            self._helpers.begin(keys, self._size)

    def batches(self) -> Iterator[Sequence[Key]]:
        """Of `batch` images at most; each shard is chosen as its first batch is asked for."""
        while (shard := self._next()) is not None:
            self._taken.add(shard)
            if self._helpers is not None:
                self._helpers.take(shard)
            keys = self._shards[shard]
            yield from (keys[at : at + self._batch] for at in range(0, len(keys), self._batch))

    def brought(self) -> Iterator[Extracted]:
        """What helpers have brought since, whole segments only."""
        while self._helpers is not None and (news := self._helpers.news()) is not None:
            self._leased = set(news.leased)
            for path in map(Path, news.brought):
                with suppress(OSError):
                    segment = read_segment(path)
                    path.unlink()
                    if segment is not None:
                        yield extracted(segment)

    def _next(self) -> int | None:
        while self._first < len(self._shards) and not self._is_open(self._first):
            self._first += 1
        last_leased = None
        for shard in filter(self._is_open, range(self._first, len(self._shards))):
            if shard not in self._leased:
                return shard
            last_leased = shard
        return last_leased

    def _is_open(self, shard: int) -> bool:
        return shard not in self._taken and not all(map(self._is_there, self._shards[shard]))


def extracted(segment: Segment) -> Extracted:
    """A segment as the pipeline would have given it."""
    rows = torch.from_numpy(segment.rows.copy())
    return Extracted(segment.keys, rows, dict(segment.said), segment.seconds * len(segment.keys))
