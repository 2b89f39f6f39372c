"""Features that can be trained on or judged by, whose rows may still be on their way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from workers.trainer.head import Scaler
from workers.vision.arrays import Floats, Integers


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


class Scaled:
    """A table's features as the head sees them, each scaled once it is there and wanted."""

    def __init__(self, table: Table, scaler: Scaler) -> None:
        self._features, self._scaler = table.features, scaler
        self._rows = table.features.numpy() if scaler.is_none else np.empty(table.features.shape, dtype=np.float32)
        self._is_scaled = np.full(len(table), scaler.is_none)

    def take(self, rows: Integers) -> Floats:
        """(B, 512), a copy."""
        new = rows[~self._is_scaled[rows]]
        if len(new):
            self._rows[new] = self._scaler(self._features[new]).numpy()
            self._is_scaled[new] = True
        taken: Floats = self._rows.take(rows, axis=0)
        return taken
