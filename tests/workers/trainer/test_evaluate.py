"""Scores are those of scikit-learn, at any number of labels."""

import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import nn

from workers.trainer.evaluate import evaluate
from workers.trainer.table import Table
from workers.vision.backbone import DIM


def judged(n: int, labels: int) -> tuple[nn.Linear, Table]:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(DIM, labels)
    features = torch.randn(n, DIM, generator=generator)
    return head, Table(features, torch.randint(labels, (n,), generator=generator), torch.ones(n, dtype=torch.bool))


def test_precision_recall_f1_and_confusion_are_scikit_learns() -> None:
    head, table = judged(200, 5)
    found = evaluate(head, table, list("abcde"), "val")
    true, predicted = table.labels.numpy(), head(table.features).argmax(1).numpy()
    wanted = precision_recall_fscore_support(true, predicted, labels=range(5), zero_division=0)
    for row, (precision, recall, f1, images) in zip(found.labels, zip(*wanted, strict=True), strict=True):
        assert (row.images, round(row.f1, 9)) == (images, round(f1, 9))
        assert (round(row.precision, 9), round(row.recall, 9)) == (round(precision, 9), round(recall, 9))
    assert found.confusion == confusion_matrix(true, predicted, labels=range(5)).tolist()
    assert found.accuracy == (true == predicted).mean()


def test_very_many_labels_cost_no_matrix() -> None:
    head, table = judged(10, 50_000)  # a matrix of them would take 20 GB
    found = evaluate(head, table, [str(i) for i in range(50_000)], "val")
    assert found.confusion == []
    assert sum(label.images for label in found.labels) == 10
