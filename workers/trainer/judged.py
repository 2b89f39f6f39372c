"""What the model does on each held-out image, the worst first."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.contract.evaluation import Judgement
from workers.trainer.calibrate import logits_of, logsumexp
from workers.trainer.table import Table
from workers.trainer.trained import Trained
from workers.vision.dataset import Example

NAME = "judged.jsonl"


def write_judged(trained: Trained, examples: Sequence[Example], held_out: Table, out: Path) -> str:
    """A line for each of `examples`, whose features are those of `held_out`; the file's name in `out`.

    The loss is that of the evaluation, in nats, and the probability that of a prediction: at the model's temperature.
    """
    logits, true = logits_of(trained.head, held_out), held_out.labels.numpy()  # (n, C), (n,)
    rows, predicted = np.arange(len(true)), logits.argmax(axis=1)
    losses = logsumexp(logits) - logits[rows, true]
    cooled = logits / trained.temperature
    probabilities = np.exp(cooled[rows, predicted] - logsumexp(cooled))
    paths = [example.image.path for example in examples]
    with (out / NAME).open("w", encoding="utf-8") as file:
        for i in sorted(rows.tolist(), key=lambda i: (-losses[i], paths[i])):
            judged = Judgement(
                paths[i],
                trained.labels[true[i]],
                trained.labels[predicted[i]],
                float(probabilities[i]),
                float(losses[i]),
            )
            file.write(json.dumps(judged) + "\n")
    return NAME
