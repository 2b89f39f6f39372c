"""How good a head is on held-out features."""

import torch
import torch.nn.functional as F
from torch import nn

from services.contract.contents import Split
from services.contract.evaluation import Evaluation, LabelScore
from workers.trainer.table import Table

CONFUSION_CAP = 100  # labels; a larger matrix would be megabytes in a record


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
