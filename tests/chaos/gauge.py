"""What the parts of a house take while it is disturbed: descriptors and memory, which must not grow."""

from collections import defaultdict
from contextlib import suppress
from typing import NamedTuple

import psutil

from tests.chaos.house import House

EVERY = 2.0  # seconds
SLACK = (100, 150)  # descriptors and MB that a part may have more at its end than at its start, whatever it does then


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
    def most(self) -> dict[str, dict[str, Taken]]:
        """Of each part, in the first and in the last third of the time."""
        thirds = {name: (all[: len(all) // 3], all[-len(all) // 3 :]) for name, all in self._taken.items() if all[2:]}
        return {name: {"first": _most(first), "last": _most(last)} for name, (first, last) in thirds.items()}

    def growth(self) -> list[str]:
        """In sentences. The store's grows with its records."""
        return [
            f"{name} grew from {of['first']} to {of['last']}"
            for name, of in self.most.items()
            if name != self._house.store.name
            and any(
                last > 1.5 * first + slack for first, last, slack in zip(of["first"], of["last"], SLACK, strict=True)
            )
        ]


def _most(taken: list[Taken]) -> Taken:
    return Taken(*map(max, zip(*taken, strict=True)))
