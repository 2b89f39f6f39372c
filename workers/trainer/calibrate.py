"""Probabilities that are what they say: one temperature, fitted on validation images (Guo et al. 2017)."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.contract.spec import TrainerSpec
from workers.trainer.table import Table
from workers.vision.arrays import Integers
from workers.vision.backbone import Backbone
from workers.vision.dataset import Example
from workers.vision.rows import Rows

MOST: Final = 512  # validation images that are passed in fp32 too, where the training was not in it
BOUNDS: Final = (math.log(0.05), math.log(20.0))  # of the temperature's logarithm
STEPS: Final = 50  # of the golden section: to 1e-9 of it
BINS: Final = 15  # of the expected calibration error, as in Guo et al.

Doubles = NDArray[np.float64]


def fitted(spec: TrainerSpec, examples: Sequence[Example], val: Table, backbone: Backbone, folded: nn.Linear) -> float:
    """For logits on fp32 features, as predictors and exports have them; 1 where nothing was held out."""
    if spec.precision == "fp32":
        table = val.whole().only_readable()
    else:
        table = _in_fp32(examples[:: max(1, math.ceil(len(examples) / MOST))], backbone, spec)
    if not len(table):
        return 1.0
    return temperature(logits_of(folded, table)[:, : len(spec.labels)], table.labels.numpy())


@torch.no_grad()
def logits_of(folded: nn.Linear, table: Table) -> Doubles:
    """(n, C), of raw features."""
    logits: Doubles = folded(table.features).double().numpy()
    return logits


def temperature(logits: Doubles, labels: Integers) -> float:
    """The one that makes the labels likeliest: (n, C) of those that were trained, (n,).

    Each label is believed but for 1 / (n + 2), as in Platt 1999: where every image is right, the maximum likelihood
    alone would be certain of everything.
    """
    n, c = logits.shape
    doubt = 1 / (n + 2)
    believed = (1 - doubt) * logits[np.arange(n), labels] + doubt * logits.mean(axis=1)  # (n,)

    def loss(log_temperature: float) -> float:
        by = math.exp(-log_temperature)
        return float(np.mean(logsumexp(logits * by) - believed * by))

    return math.exp(_minimum(loss)) if c > 1 and np.isfinite(logits).all() else 1.0


def calibration_error(logits: Doubles, labels: Integers, temperature: float) -> float:
    """Expected: the gap between confidence and accuracy, by confidence in 15 bins, weighted by their images."""
    scaled = logits / temperature
    confidence = np.exp(scaled.max(axis=1) - logsumexp(scaled))  # (n,)
    right = logits.argmax(axis=1) == labels  # (n,)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def logsumexp(logits: Doubles) -> Doubles:
    """(n, C) → (n,)."""
    most = logits.max(axis=1)
    found: Doubles = most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
    return found


def _in_fp32(examples: Sequence[Example], backbone: Backbone, spec: TrainerSpec) -> Table:
    """Those of them that can be read: passed once, and then in the cache like all features."""
    rows = Rows(examples, range(len(examples)), backbone.at("fp32"), spec, _pass_over)
    try:
        while not rows.is_complete:
            rows.compute_next()
    finally:
        rows.close(here_only=True)  # beside the file lie features of all its images, not of a few
    labels = torch.tensor([example.label for example in examples], dtype=torch.int64)
    return Table(rows.features, labels, rows.readable).only_readable()


def _pass_over(_: OSError) -> None:
    """The training has said already that the cache cannot be written."""


def _minimum(loss: Callable[[float], float]) -> float:
    """Golden section (Kiefer 1953): the loss is convex in 1 / temperature, so it has one valley."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = BOUNDS
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2
