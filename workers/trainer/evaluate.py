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
    confusion = torch.bincount(table.labels * n + predicted, minlength=n * n).reshape(n, n)  # (true, predicted)
    return Evaluation(
        split=split,
        images=len(table),
        loss=loss,
        accuracy=accuracy,
        labels=[_score(label, index, confusion) for index, label in enumerate(labels)],
        confusion=confusion.tolist() if n <= CONFUSION_CAP else [],
    )


def _score(label: str, index: int, confusion: torch.Tensor) -> LabelScore:
    """Zero where a ratio has no denominator, as scikit-learn has it."""
    hits, images = int(confusion[index, index]), int(confusion[index].sum())
    precision, recall = _ratio(hits, int(confusion[:, index].sum())), _ratio(hits, images)
    return LabelScore(
        label=label,
        images=images,
        precision=precision,
        recall=recall,
        f1=_ratio(2 * precision * recall, precision + recall),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
