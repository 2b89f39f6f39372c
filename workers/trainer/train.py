"""The loop: SGD on heads over features, checkpointed, stopped on request, resumed to the letter.

torch.manual_seed(seed); head = nn.Linear(512, num_labels)
order = torch.Generator().manual_seed(seed)
for epoch in range(n_epochs):
    for batch in torch.randperm(n, generator=order).split(batch_size):
        loss = F.cross_entropy(head(features[batch]), labels[batch])   # then SGD's step

A sweep runs it for all its trials at once: those of one batch size see the same batches, in one stack of heads.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from services.contract.errors import DataUnreadable, JobFailure, LossDiverged
from services.contract.lines import Validation
from services.contract.progress import Progress, Trial
from services.contract.recipe import Hyperparameters
from services.contract.spec import TrainerSpec
from workers.trainer import checkpoint, head
from workers.trainer.balance import class_weights
from workers.trainer.checkpointer import Checkpointer
from workers.trainer.head import Scaler
from workers.trainer.order import orders
from workers.trainer.ranking import Ranking
from workers.trainer.report import Report
from workers.trainer.state import Bucket, TrainingState, fresh
from workers.trainer.stop import Stopped
from workers.trainer.table import Scaled, Table
from workers.vision.arrays import Integers
from workers.vision.heads import Head

SMOOTHING = 0.1
SCALED_BY = 512  # images of which features' mean and deviation are taken: as many as a feature has numbers


class Training:
    """One attempt at a job's loop. `train` and `val` may still be on their way: rows are waited for as they are due."""

    def __init__(
        self, spec: TrainerSpec, train: Table, val: Table | None, report: Report, stop_asked: Callable[[], bool]
    ) -> None:
        self._spec, self._report, self._stop_asked = spec, report, stop_asked
        self._trials = spec.trials
        self.state = _first_or_resumed_state(spec, train)
        self.ranking = Ranking(self.state.standings, spec.early_stopping)
        self._checkpointer = Checkpointer(spec, self.state, self.ranking, report, self._flush)
        self._train, self._labels = train, train.labels.numpy()  # (n,)
        self._x = Scaled(train, self.state.scaler)
        self._readable = train.readable.numpy()  # (n,); like the features, it may still be filled
        self._arriving_val = val
        self._val: Table | None = None
        self._total = sum(map(self._steps_of, {hp.batch_size for hp in self._trials}))
        self._epoch_now = self.state.epoch  # counted from 1 while it runs
        self._began, self._began_at_step, self._images = time.monotonic(), self.state.at, 0

    def run(self) -> TrainingState:
        """The state after the last epoch. Raises Stopped, after a checkpoint; LossDiverged."""
        self._checkpointer.begin()
        try:
            for order in orders(self._spec, len(self._train), self.state.epoch):
                if not self.state.buckets:
                    break  # every trial has stopped early
                self._epoch_now = self.state.epoch + 1
                for bucket, batch in self._batches(order):
                    self.step(bucket, batch)
                    if self._stop_asked():
                        raise Stopped
                    self._checkpointer.after_step()
                self._end_epoch()
        except Stopped:
            self._checkpointer.before_stop()
            raise
        except JobFailure:
            self._flush()
            self._checkpointer.write_held_best()
            raise
        self._flush()
        self._leave_out_what_is_not_finite()
        for standing in self.state.standings:
            standing.status = "done" if standing.status == "training" else standing.status
        return self.state

    def progress(self) -> Progress:
        at = self.state.at
        counted = {
            "epoch": self._epoch_now,
            "n_epochs": self._spec.hyperparameters.n_epochs,
            "step": at,
            "total_steps": self._total,
        }
        if self._report.features < 1:
            return self._report.progress(**counted)  # the features' own speed stands there
        seconds = time.monotonic() - self._began
        rate = (at - self._began_at_step) / seconds if seconds > 0 else 0.0  # steps a second
        images_rate = self._images / seconds if seconds > 0 else 0.0
        return self._report.progress(
            **counted,
            phase="training",
            images=len(self._train),
            total_images=len(self._train),
            images_per_second=round(images_rate, 1) or None,
            eta_seconds=round((self._total - at) / rate, 1) if rate else None,
        )

    def standings(self) -> list[Trial]:
        """Each trial as it is told, the leader marked."""
        leader = self.ranking.leader()
        told = zip(self.state.standings, self._trials, strict=True)
        return [standing.told(trial, hp, leads=trial == leader) for trial, (standing, hp) in enumerate(told)]

    # --- a batch -------------------------------------------------------------------------------------------------

    def _batches(self, order: Integers) -> Iterator[tuple[Bucket, Integers]]:
        """What is left of an epoch: each bucket's batches in turn."""
        for bucket in list(self.state.buckets):
            while (start := bucket.batch * bucket.batch_size) < len(order) and bucket.trials:
                yield bucket, order[start : start + bucket.batch_size]

    def step(self, bucket: Bucket, batch: Integers) -> None:
        """One batch for each head of the bucket: cross-entropy, and SGD's step. Raises Stopped, LossDiverged."""
        self._train.arrive(batch)
        bucket.batch += 1
        rows = batch[self._readable[batch]]  # what cannot be decoded drops out of its batch
        if len(rows) == 0:
            return
        total = self._steps_of(bucket.batch_size)
        rates = [learning_rate(self._trials[trial], bucket.step, total) for trial in bucket.trials]
        losses = bucket.stack.step(self._x.take(rows), self._labels[rows], rates).tolist()  # (H,)
        bucket.step += 1
        self.state.at += 1
        self._images += len(rows)
        if not all(map(math.isfinite, losses)):
            self._flush()  # packs are of the same trials throughout
            losses = self._without_diverged(bucket, losses, "loss")
        self._note(bucket, losses)

    def _note(self, bucket: Bucket, losses: Sequence[float]) -> None:
        for trial, loss in zip(bucket.trials, losses, strict=True):
            standing = self.state.standings[trial]
            standing.step, standing.train_loss = bucket.step, loss
            standing.first_loss = loss if standing.first_loss is None else standing.first_loss
            usual = loss if standing.usual_loss is None else standing.usual_loss
            standing.usual_loss = usual + SMOOTHING * (loss - usual)
        if bucket.trials:
            self._report.steps(bucket.trials, self.state.at, bucket.step, losses)
        self._flush_if_due()

    def _without_diverged(self, bucket: Bucket, losses: Sequence[float], what: str) -> list[float]:
        """What is left once trials whose loss is no longer finite are out. Raises LossDiverged where none is left."""
        for trial, loss in zip(bucket.trials, losses, strict=True):
            if not math.isfinite(loss):
                self.state.standings[trial].status = "diverged"
        self._refuse_if_none_is_left(f"The {what} is")
        self.state.drop_ended(bucket)
        return [loss for loss in losses if math.isfinite(loss)]

    def _leave_out_what_is_not_finite(self) -> None:
        """Of the heads: what the last step did is seen by no loss. Raises LossDiverged where none is left."""
        for trial, standing in enumerate(self.state.standings):
            if standing.status != "diverged" and not self.state.head(trial).is_finite:
                standing.status = "diverged"
        self._refuse_if_none_is_left("The weights are")

    def _refuse_if_none_is_left(self, what: str) -> None:
        if all(standing.status == "diverged" for standing in self.state.standings):
            rate = max(hp.learning_rate for hp in self._trials)
            raise LossDiverged(
                f"{what} no longer finite at step {self.state.at}. Lower learning_rate (it is {rate:g}) or "
                'momentum, or set feature_scaling to "standard".'
            )

    def _flush_if_due(self) -> None:
        if self._report.is_due:
            self._flush()

    def _flush(self) -> None:
        self._report.flush(self.progress(), self.standings, each_time=self._spec.sweep is not None)

    def _steps_of(self, batch_size: int) -> int:
        """A trial's, if it stops neither early nor for want of readable images."""
        return self._spec.hyperparameters.n_epochs * math.ceil(len(self._labels) / batch_size)

    # --- an epoch's end ------------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        held_out = self._held_out()  # before anything is moved on: it may still be on its way
        self.state.epoch += 1
        for bucket in self.state.buckets:
            bucket.batch = 0
            for trial in bucket.trials:
                self.state.standings[trial].epoch = self.state.epoch
        improved = self._validate(held_out) if held_out is not None else set()
        self._checkpointer.after_epoch(
            is_best=self.ranking.champion() in improved,
            is_last=self.state.epoch == self._spec.hyperparameters.n_epochs or not self.state.buckets,
        )

    def _held_out(self) -> Table | None:
        """The scaled validation set, once all that is held out is there."""
        if self._val is None and self._arriving_val is not None:
            table = self._arriving_val.whole().only_readable()
            if self._spec.sweep and not len(table):
                raise DataUnreadable("No validation image can be read: the trials of a sweep cannot be judged.")
            self._val = Table(self.state.scaler(table.features), table.labels, table.readable)
        return self._val if self._val is not None and len(self._val) else None

    def _validate(self, held_out: Table) -> set[int]:
        """Judge every trial that trains on the held-out images; those that are better than ever."""
        improved = set()
        for bucket in list(self.state.buckets):
            improved |= self._validate_bucket(bucket, held_out)
        self._flush_if_due()
        for bucket in list(self.state.buckets):
            self.state.drop_ended(bucket)
        return improved

    def _validate_bucket(self, bucket: Bucket, held_out: Table) -> set[int]:
        losses, accuracies = head.judge(bucket.stack, held_out.features.numpy(), held_out.labels.numpy())
        if not all(map(math.isfinite, losses)):
            accuracies = [a for a, loss in zip(accuracies, losses, strict=True) if math.isfinite(loss)]
            losses = self._without_diverged(bucket, losses, "validation loss")
        return {
            trial
            for place, trial in enumerate(bucket.trials)
            if self._judged(trial, losses[place], accuracies[place], bucket.stack.head(place))
        }

    def _judged(self, trial: int, loss: float, accuracy: float, judged: Head) -> bool:
        """Whether this is the trial's best epoch so far."""
        standing, plan = self.state.standings[trial], self._spec.early_stopping
        standing.val_loss, standing.val_accuracy = loss, accuracy
        self._report.validation(
            Validation(
                trial=trial,
                at=self.state.at,
                step=standing.step,
                epoch=standing.epoch,
                val_loss=loss,
                val_accuracy=accuracy,
            )
        )
        improved = self.ranking.has_improved(standing)
        standing.stale_epochs = 0 if improved else standing.stale_epochs + 1
        if improved:
            standing.best = standing.metrics
            if plan:
                self.state.best[trial] = judged.copy()
        if plan and standing.stale_epochs >= plan.patience:
            standing.status = "stopped_early"
        return improved


def learning_rate(hp: Hyperparameters, step: int, total: int) -> float:
    """Of the step after `step` of `total`. Cosine: Loshchilov & Hutter 2016, one half-period down to zero."""
    if hp.lr_schedule == "cosine":
        return hp.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))
    return hp.learning_rate


def _first_or_resumed_state(spec: TrainerSpec, train: Table) -> TrainingState:
    weights = class_weights(spec, train.labels.numpy())
    if spec.resume:
        return checkpoint.read(Path(spec.resume), spec.trials, weights)
    scaler = _scaler(spec, train) if spec.feature_scaling == "standard" else Scaler.none()
    return fresh(head.fresh(spec.seed, spec.num_labels), spec.trials, scaler, weights)


def _scaler(spec: TrainerSpec, train: Table) -> Scaler:
    """Of the first readable images in the first epoch's order: the loss streams before all features are there."""
    order = next(orders(spec, len(train)))
    readable = train.readable.numpy()
    for count in range(SCALED_BY, len(order) + SCALED_BY, SCALED_BY):
        train.arrive(order[:count])
        found = order[:count][readable[order[:count]]]
        if len(found) >= SCALED_BY:
            break
    return Scaler.of(train.features[np.sort(found[:SCALED_BY])])
