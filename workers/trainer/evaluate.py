"""How good a head is on held-out features."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from services.contract.dataset import Split
from services.contract.evaluation import Evaluation, LabelScore

CONFUSION_CAP = 100  # labels; a larger matrix would be megabytes in a record


@dataclass(frozen=True)
class Table:
    """Features that can be trained on or judged by: (n, 512) float32, (n,) int64, (n,) bool."""

    features: torch.Tensor
    labels: torch.Tensor
    readable: torch.Tensor

    def only_readable(self) -> "Table":
        return Table(self.features[self.readable], self.labels[self.readable], self.readable[self.readable])

    def __len__(self) -> int:
        return len(self.labels)


@torch.no_grad()
def loss_and_accuracy(head: nn.Linear, table: Table) -> tuple[float, float]:
    logits = head(table.features)  # (n, C)
    return float(F.cross_entropy(logits, table.labels)), float((logits.argmax(1) == table.labels).double().mean())


@torch.no_grad()
def evaluate(head: nn.Linear, table: Table, labels: list[str], split: Split) -> Evaluation:
    loss, accuracy = loss_and_accuracy(head, table)
    predicted = head(table.features).argmax(1)  # (n,)
    n = head.out_features
    hits = torch.bincount(table.labels[table.labels == predicted], minlength=n).tolist()  # (C,)
    images = torch.bincount(table.labels, minlength=n).tolist()  # (C,)
    claims = torch.bincount(predicted, minlength=n).tolist()  # (C,)
    return Evaluation(
        split=split,
        images=len(table),
        loss=loss,
        accuracy=accuracy,
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
