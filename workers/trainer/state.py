"""Where a training stands: every trial's head, its momentum, its best epoch, and the place in the loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import nn

from services.contract.progress import CheckpointMetrics, Trial, TrialStatus
from services.contract.recipe import Hyperparameters
from workers.trainer.head import HeadStack, Scaler
from workers.vision.arrays import Floats
from workers.vision.heads import Head


@dataclass
class Standing:
    """Where a trial stands: its own epochs and steps."""

    status: TrialStatus = "training"
    epoch: int = 0
    step: int = 0
    first_loss: float | None = None  # of its first step
    usual_loss: float | None = None  # smoothed over some ten steps: the last batch may be one picture
    train_loss: float | None = None
    # of the last epoch that was validated
    val_loss: float | None = None
    val_accuracy: float | None = None
    # of the best epoch so far, and how many came since
    best: CheckpointMetrics | None = None
    stale_epochs: int = 0

    @property
    def metrics(self) -> CheckpointMetrics:
        return CheckpointMetrics(
            step=self.step,
            epoch=self.epoch,
            train_loss=self.train_loss,
            val_loss=self.val_loss,
            val_accuracy=self.val_accuracy,
        )

    def told(self, trial: int, hyperparameters: Hyperparameters, *, leads: bool) -> Trial:
        return Trial(
            trial=trial,
            hyperparameters=hyperparameters,
            status=self.status,
            leads=leads,
            metrics=self.metrics,
            best=self.best,
        )


@dataclass
class Bucket:
    """The trials of one batch size that still train: they see the same batches. `trials[i]` has head i of the stack."""

    batch_size: int
    trials: list[int]
    stack: HeadStack
    batch: int = 0  # the next one of the running epoch
    step: int = 0  # steps taken


@dataclass
class TrainingState:
    """All that a resumed attempt needs. `best` holds heads where the best one, not the last, becomes the model."""

    scaler: Scaler
    buckets: list[Bucket]
    standings: list[Standing]  # by trial
    best: dict[int, Head] = field(default_factory=dict)
    epoch: int = 0  # the running one, from 0
    at: int = 0  # steps of all buckets together

    def copy(self) -> "TrainingState":
        """As it is now, whatever becomes of it."""
        return replace(
            self,
            buckets=[replace(b, trials=list(b.trials), stack=b.stack.only(range(len(b.stack)))) for b in self.buckets],
            standings=[replace(standing) for standing in self.standings],
            best=dict(self.best),
        )

    def drop_ended(self, bucket: Bucket) -> None:
        """Take out of the stack the trials that no longer train."""
        kept = [place for place, trial in enumerate(bucket.trials) if self.standings[trial].status == "training"]
        if len(kept) < len(bucket.trials):
            bucket.stack = bucket.stack.only(kept) if kept else bucket.stack
            bucket.trials = [bucket.trials[place] for place in kept]
        self.buckets = [bucket for bucket in self.buckets if bucket.trials]

    def head(self, trial: int) -> Head:
        """Its best head where that one is kept, else its last."""
        if trial in self.best:
            return self.best[trial]
        return next(b.stack.head(b.trials.index(trial)) for b in self.buckets if trial in b.trials)


@dataclass(frozen=True)
class Position:
    """Where the loop stands: `images` of the running epoch are behind every bucket."""

    epoch: int = 0
    images: int = 0


def fresh(
    first: nn.Linear, trials: Sequence[Hyperparameters], scaler: Scaler, class_weights: Floats | None = None
) -> TrainingState:
    """The state before step 1: each trial has the first head."""
    head = Head(first.weight.detach().numpy(), first.bias.detach().numpy())
    zero = Head(np.zeros_like(head.weight), np.zeros_like(head.bias))
    by_size: dict[int, list[int]] = {}
    for trial, hp in enumerate(trials):
        by_size.setdefault(hp.batch_size, []).append(trial)
    buckets = [
        Bucket(
            size,
            members,
            HeadStack([head] * len(members), [zero] * len(members), [trials[t] for t in members], class_weights),
        )
        for size, members in by_size.items()
    ]
    return TrainingState(scaler, buckets, [Standing() for _ in trials])
