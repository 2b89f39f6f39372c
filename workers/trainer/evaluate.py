"""How good a head is on held-out features."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from services.contract.dataset import Split
from services.contract.evaluation import Evaluation, LabelScore
from workers.trainer.head import Integers

CONFUSION_CAP = 100  # labels; a larger matrix would be megabytes in a record


def _all_there(indices: Integers) -> None:
    """A table that is whole."""


@dataclass(frozen=True)
class Table:
    """Features that can be trained on or judged by: (n, 512) float32, (n,) int64, (n,) bool. `arrive` waits until the
    rows at some indices are there, for they may still be on their way."""

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


@torch.no_grad()
def evaluate(head: nn.Linear, table: Table, labels: list[str], split: Split) -> Evaluation:
    logits = head(table.features)  # (n, C)
    predicted = logits.argmax(1)  # (n,)
    n = head.out_features
    hits = torch.bincount(table.labels[table.labels == predicted], minlength=n).tolist()  # (C,)
    images = torch.bincount(table.labels, minlength=n).tolist()  # (C,)
    claims = torch.bincount(predicted, minlength=n).tolist()  # (C,)
    return Evaluation(
        split=split,
        images=len(table),
        loss=float(F.cross_entropy(logits, table.labels)),
        accuracy=float((predicted == table.labels).double().mean()),
        labels=[_score(*of_label) for of_label in zip(labels, hits, images, claims, strict=True)],
        confusion=_confusion(table.labels, predicted, n) if n <= CONFUSION_CAP else [],
    )


def _confusion(true: torch.Tensor, predicted: torch.Tensor, n: int) -> list[list[int]]:
    """(C, C): counts by true label, then by predicted."""
    counts: list[list[int]] = torch.bincount(true * n + predicted, minlength=n * n).reshape(n, n).tolist()
    return counts


def _score(label: str, hits: int, images: int, claims: int) -> LabelScore:
    """Zero where a ratio has no denominator, as scikit-learn has it."""
    precision, recall = _ratio(hits, claims), _ratio(hits, images)
    f1 = _ratio(2 * precision * recall, precision + recall)
    return LabelScore(label=label, images=images, precision=precision, recall=recall, f1=f1)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
