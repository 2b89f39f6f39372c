"""Features that can be trained on or judged by, whose rows may still be on their way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from workers.vision.arrays import Integers


def _all_there(indices: Integers) -> None:
    """A table that is whole."""


@dataclass(frozen=True)
class Table:
    """(n, 512) float32, (n,) int64, (n,) bool. `arrive` waits until the rows at some indices are there."""

    features: torch.Tensor
    labels: torch.Tensor
    readable: torch.Tensor
    arrive: Callable[[Integers], None] = _all_there

    def whole(self) -> "Table":
        """Once every row is there."""
        self.arrive(np.arange(len(self)))
        return Table(self.features, self.labels, self.readable)

    def only_readable(self) -> "Table":
        """Of a whole table."""
        if self.readable.all():
            return self
        return Table(self.features[self.readable], self.labels[self.readable], self.readable[self.readable])

    def __len__(self) -> int:
        return len(self.labels)
