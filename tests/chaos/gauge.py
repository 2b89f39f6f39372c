"""What the parts of a house take while it is disturbed: descriptors and memory, which must not grow."""

import statistics
from collections import defaultdict
from contextlib import suppress
from typing import NamedTuple

import psutil

from tests.chaos.house import House

EVERY = 2.0  # seconds
SLACK = (50, 100)  # descriptors and MB that a part may usually have more at its end than at its start


class Taken(NamedTuple):
    descriptors: int
    mb: int


class Gauge:
    def __init__(self, house: House) -> None:
        self._house = house
        self._taken: defaultdict[str, list[Taken]] = defaultdict(list)
        self._due = 0.0

    def look(self, now: float) -> None:
        if now < self._due:
            return
        self._due = now + EVERY
        for part in self._house.parts:
            if part.is_alive:
                with suppress(psutil.Error):
                    process = psutil.Process(part.pid)
                    self._taken[part.name].append(Taken(process.num_fds(), process.memory_info().rss // 1_000_000))

    @property
    def usual(self) -> dict[str, dict[str, Taken]]:
        """Of each part, the median in the first and in the last third of the time."""
        thirds = {name: (all[: len(all) // 3], all[-len(all) // 3 :]) for name, all in self._taken.items() if all[2:]}
        return {name: {"first": _median(first), "last": _median(last)} for name, (first, last) in thirds.items()}

    def growth(self) -> list[str]:
        """In sentences. The store's grows with its records."""
        return [
            f"{name} grew from {of['first']} to {of['last']}"
            for name, of in self.usual.items()
            if name != self._house.store.name and _has_grown(of["first"], of["last"])
        ]


def _has_grown(first: Taken, last: Taken) -> bool:
    return any(after > 1.5 * before + slack for before, after, slack in zip(first, last, SLACK, strict=True))


def _median(taken: list[Taken]) -> Taken:
    return Taken(*(round(statistics.median(values)) for values in zip(*taken, strict=True)))
