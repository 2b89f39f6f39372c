"""What the model does on each held-out image, the worst first."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from services.contract.evaluation import Judgement
from workers.trainer.calibrate import logits_of, logsumexp
from workers.trainer.table import Table
from workers.trainer.trained import Trained
from workers.vision.dataset import Example

NAME = "judged.jsonl"
ROWS = 1024  # judged at a time: of 10,000 labels, 80 MB of logits


def write_judged(trained: Trained, examples: Sequence[Example], held_out: Table, out: Path) -> str:
    """A line for each of `examples`, whose features are those of `held_out`; the file's name in `out`.

    The loss is that of the evaluation, in nats, and the probability that of a prediction: at the model's temperature.
    """
    worst_first = sorted(_judged(trained, examples, held_out), key=lambda judged: (-judged.loss, judged.path))
    with (out / NAME).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(judged) + "\n" for judged in worst_first)
    return NAME


def _judged(trained: Trained, examples: Sequence[Example], held_out: Table) -> Iterator[Judgement]:
    for start in range(0, len(held_out), ROWS):
        some = slice(start, start + ROWS)
        true = held_out.labels[some].numpy()  # (B,)
        logits = logits_of(trained.head, Table(held_out.features[some], held_out.labels[some], held_out.readable[some]))
        rows, predicted = np.arange(len(true)), logits.argmax(axis=1)
        losses = logsumexp(logits) - logits[rows, true]
        cooled = logits / trained.temperature  # (B, C)
        probabilities = np.exp(cooled[rows, predicted] - logsumexp(cooled))
        for row, example in enumerate(examples[some]):
            label, taken_for = trained.labels[true[row]], trained.labels[predicted[row]]
            yield Judgement(example.image.path, label, taken_for, float(probabilities[row]), float(losses[row]))
