"""The head: `fc`, the one layer that is trained, and what stands before it when features are scaled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from services.contract.recipe import Hyperparameters
from workers.vision.arrays import Floats, Integers
from workers.vision.backbone import DIM
from workers.vision.heads import Head

STD_FLOOR = 1e-3  # of the largest std: a feature that hardly moves in training must not be blown up in use

LOGITS = 2**24  # judged at once: 64 MB, whatever the number of labels and trials


def fresh(seed: int, num_labels: int) -> nn.Linear:
    """The head of the reference loop, to the letter: the seed is set, and the layer is made."""
    torch.manual_seed(seed)
    return nn.Linear(DIM, num_labels)


class HeadStack:
    """The heads of trials that see the same batches, stepped together: SGD with momentum on the cross-entropy.

    No autograd: the gradient by the logits is softmax − onehot, over B. Each head's products are those that it would
    have alone, in the same order, so a trial's numbers do not depend on its company. numpy at every size, on one
    thread: docs/figures.md has what torch takes.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        momenta: Sequence[Head],
        trials: Sequence[Hyperparameters],
        class_weights: Floats | None = None,
    ) -> None:
        self._trials, self._class_weights = trials, class_weights  # (C,), or all the same
        self.weight = np.stack([head.weight for head in heads])  # (H, C, 512)
        self.bias = np.stack([head.bias for head in heads])[:, None]  # (H, 1, C)
        self.weight_momentum = np.stack([momentum.weight for momentum in momenta])
        self.bias_momentum = np.stack([momentum.bias for momentum in momenta])[:, None]
        self._gradient = np.empty_like(self.weight)
        self._momentum = _column(hp.momentum for hp in trials)  # (H, 1, 1)
        self._nesterov = _column(hp.nesterov for hp in trials)  # (H, 1, 1), 1 or 0
        self._decay = _column(hp.weight_decay for hp in trials)  # (H, 1, 1)
        self._any_decays, self._any_nesterov = bool(self._decay.any()), bool(self._nesterov.any())

    def __len__(self) -> int:
        return len(self.weight)

    def head(self, place: int) -> Head:
        return Head(self.weight[place], self.bias[place, 0])

    def momentum(self, place: int) -> Head:
        return Head(self.weight_momentum[place], self.bias_momentum[place, 0])

    def only(self, places: Sequence[int]) -> "HeadStack":
        """Those heads, going on as they are."""
        heads, momenta = [self.head(place) for place in places], [self.momentum(place) for place in places]
        return HeadStack(heads, momenta, [self._trials[place] for place in places], self._class_weights)

    def logits(self, x: Floats) -> Floats:
        """(B, 512) → (H, B, C)."""
        logits: Floats = np.matmul(x, self.weight.transpose(0, 2, 1)) + self.bias
        return logits

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # a head that diverges is seen by its loss
    def step(self, x: Floats, labels: Integers, rates: Sequence[float]) -> Floats:
        """One step of each head on x (B, 512) and labels (B,), at learning rates (H,). The losses before it, (H,)."""
        rows = np.arange(len(labels))
        shares = self._shares(labels)  # (B,)
        losses, probs = _softmax(self.logits(x), labels, rows, shares)  # (H,), (H, B, C)
        probs[:, rows, labels] -= 1
        probs *= shares[:, None]  # d loss / d logits
        np.matmul(probs.transpose(0, 2, 1), x, out=self._gradient)  # (H, C, 512)
        rate = _column(rates)
        self._descend(self.weight, self.weight_momentum, self._gradient, rate)
        self._descend(self.bias, self.bias_momentum, probs.sum(axis=1, keepdims=True), rate)
        return losses

    def _shares(self, labels: Integers) -> Floats:
        """What each image counts in the batch's loss, (B,), together 1: by its label's weight, as torch has it."""
        if self._class_weights is None:
            return np.full(len(labels), 1 / len(labels), dtype=np.float32)
        weights: Floats = self._class_weights[labels]
        shares: Floats = weights / weights.sum()
        return shares

    def _descend(self, parameter: Floats, momentum: Floats, gradient: Floats, rate: Floats) -> None:
        """torch.optim.SGD's update, in place; `gradient` is used up."""
        if self._any_decays:
            gradient += self._decay * parameter
        momentum *= self._momentum
        momentum += gradient
        if self._any_nesterov:  # Sutskever et al. 2013, as torch has it
            step = np.where(self._nesterov, gradient + self._momentum * momentum, momentum)
        else:
            step = momentum
        np.multiply(step, rate, out=gradient)
        parameter -= gradient


def _softmax(logits: Floats, labels: Integers, rows: Integers, shares: Floats) -> tuple[Floats, Floats]:
    """Cross-entropy (H,), of images that count as `shares` (B,) says, and the probabilities (H, B, C) in the place of
    the logits."""
    logits -= logits.max(axis=2, keepdims=True)
    own = logits[:, rows, labels]  # (H, B)
    probs = np.exp(logits, out=logits)
    sums = probs.sum(axis=2, keepdims=True)  # (H, B, 1)
    losses: Floats = (np.log(sums[..., 0]) - own) @ shares
    probs /= sums
    return losses, probs


def _column(values: Iterable[float]) -> Floats:
    return np.fromiter(values, np.float32).reshape(-1, 1, 1)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def judge(stack: HeadStack, x: Floats, labels: Integers) -> tuple[list[float], list[float]]:
    """Cross-entropy and accuracy of each head on x (n, 512)."""
    losses, hits = np.zeros(len(stack)), np.zeros(len(stack))
    rows = max(1, LOGITS // (stack.bias.size or 1))
    for start in range(0, len(labels), rows):
        part = labels[start : start + rows]
        logits = stack.logits(x[start : start + rows])  # (H, B, C)
        hits += (logits.argmax(axis=2) == part).sum(axis=1)
        alike = np.full(len(part), 1 / len(part), dtype=np.float32)
        losses += len(part) * _softmax(logits, part, np.arange(len(part)), alike)[0].astype(np.float64)
    return (losses / len(labels)).tolist(), (hits / len(labels)).tolist()


@dataclass(frozen=True)
class Scaler:
    """(features − mean) / std; both (512,) float64. None of it is the identity."""

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def none(cls) -> "Scaler":
        return cls(torch.zeros(DIM, dtype=torch.float64), torch.ones(DIM, dtype=torch.float64))

    @classmethod
    def of(cls, features: torch.Tensor) -> "Scaler":
        """From the training set's features, (n, 512). numpy sums in one order, whatever the number of threads."""
        double = features.numpy().astype(np.float64)
        mean, std = torch.from_numpy(double.mean(axis=0)), torch.from_numpy(double.std(axis=0))  # (512,), (512,)
        return cls(mean, std.clamp(min=STD_FLOOR * float(std.max()) or 1.0))

    @property
    def is_none(self) -> bool:
        return not self.mean.any() and bool((self.std == 1).all())

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """(n, 512) → (n, 512), float32; the same tensor where there is nothing to scale."""
        return features if self.is_none else ((features.double() - self.mean) / self.std).float()

    def folded(self, head: Head) -> nn.Linear:
        """The layer that gives on raw features what `head` gives on scaled ones."""
        return head.unscaled(self.mean.numpy(), self.std.numpy()).layer()
