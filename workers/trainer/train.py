"""The loop: SGD on heads over features, checkpointed, stopped on request, resumed to the letter.

torch.manual_seed(seed); head = nn.Linear(512, num_labels)
order = torch.Generator().manual_seed(seed)
for epoch in range(n_epochs):
    for batch in torch.randperm(n, generator=order).split(batch_size):
        loss = F.cross_entropy(head(features[batch]), labels[batch])   # then SGD's step

A sweep runs it for all its trials at once: those of one batch size see the same batches, in one stack of heads.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from services.contract.errors import DataUnreadable, JobFailure, LossDiverged
from services.contract.events import CheckpointLine, CheckpointMetrics, Progress, Trial, Validation
from services.contract.spec import Hyperparameters, TrainerSpec
from workers.trainer import checkpoint, head
from workers.trainer.checkpoint import Bucket, Place, Standing, State
from workers.trainer.evaluate import Table
from workers.trainer.head import Integers
from workers.trainer.report import Report

CHECKPOINT_EVERY = 10.0  # seconds: what a killed attempt repeats at most, however long an epoch is
CHECKPOINT_GAP = 1.0  # seconds between two; only first and last do not wait, and a better one takes the best's place


class Stopped(Exception):
    """The supervisor asked the trainer to stop."""


class Training:
    """One attempt at a job's loop. `train` and `val` may still be on their way: rows are waited for as they are due."""

    def __init__(
        self, spec: TrainerSpec, train: Table, val: Table | None, report: Report, stop_asked: Callable[[], bool]
    ) -> None:
        self._spec, self._report, self._stop_asked = spec, report, stop_asked
        self._trials, self._plan = spec.trials, spec.early_stopping
        self._number = spec.next_checkpoint
        self._saved_at = -math.inf
        self._held_best: tuple[State, CheckpointMetrics] | None = None  # the best, when the last was just written
        self._state = self._first_or_resumed_state(train)
        self._train = Table(self._state.scaling(train.features), train.labels, train.readable, train.arrive)
        self._arriving_val = val
        self._val: Table | None = None
        self._x, self._labels = self._train.features.numpy(), self._train.labels.numpy()  # (n, 512), (n,)
        self._readable = self._train.readable.numpy()  # (n,); like the features, it may still be filled
        self._total = sum(map(self._steps_of, {hp.batch_size for hp in self._trials}))
        self._saved_step = self._state.at
        self._epoch_now = self._state.epoch  # counted from 1 while it runs
        self._began, self._began_at_step, self._images = time.monotonic(), self._state.at, 0

    def run(self) -> State:
        """The state after the last epoch. Raises Stopped, after a checkpoint; LossDiverged."""
        if self._spec.resume is None:
            self._checkpoint()
        try:
            for order in orders(self._spec, len(self._train), self._state.epoch):
                if not self._state.buckets:
                    break  # every trial has stopped early
                self._epoch(order)
        except Stopped:
            if self._state.at > self._saved_step:
                self._checkpoint()
            raise
        except JobFailure:
            self._flush()
            self._write_held_best()
            raise
        self._flush()
        for standing in self._state.standings:
            standing.status = "done" if standing.status == "training" else standing.status
        return self._state

    def progress(self) -> Progress:
        at = self._state.at
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
        leader = self.leader()
        told = zip(self._state.standings, self._trials, strict=True)
        return [standing.told(trial, hp, leads=trial == leader) for trial, (standing, hp) in enumerate(told)]

    def leader(self) -> int:
        """The trial whose head would be the model now: the best on validation, of its best epoch where that is kept."""
        return self._first(lambda standing: standing.best if self._plan else standing.metrics)

    def _champion(self) -> int:
        """The trial that had the best epoch of all."""
        return self._first(lambda standing: standing.best)

    def _first(self, metrics_of: Callable[[Standing], CheckpointMetrics | None]) -> int:
        standings = self._state.standings
        return min(
            range(len(standings)),
            key=lambda trial: (standings[trial].status == "diverged", self._loss(metrics_of(standings[trial])), trial),
        )

    def _loss(self, metrics: CheckpointMetrics | None) -> float:
        """What makes one trial better than another: less of it."""
        by_accuracy = self._plan is not None and self._plan.metric == "val_accuracy"
        value = None if metrics is None else metrics.val_accuracy if by_accuracy else metrics.val_loss
        if value is None:
            return math.inf
        return -value if by_accuracy else value

    def _flush_if_due(self) -> None:
        if self._report.is_due:
            self._flush()

    def _flush(self) -> None:
        self._report.flush(self.progress(), self.standings, each_time=self._spec.sweep is not None)

    # --- an epoch ------------------------------------------------------------------------------------------------

    def _epoch(self, order: Integers) -> None:
        self._epoch_now = self._state.epoch + 1
        for bucket in self._state.buckets:
            while (start := bucket.batch * bucket.batch_size) < len(order) and bucket.trials:
                self._batch(bucket, order[start : start + bucket.batch_size])
                bucket.batch += 1
                self._checkpoint_if_due()
        self._close_epoch()

    def _batch(self, bucket: Bucket, batch: Integers) -> None:
        self._train.arrive(batch)
        rows = batch[self._readable[batch]]  # what cannot be decoded drops out of its batch
        if len(rows) == 0:
            return
        total = self._steps_of(bucket.batch_size)
        rates = [learning_rate(self._trials[trial], bucket.step, total) for trial in bucket.trials]
        losses = bucket.stack.step(self._x.take(rows, axis=0), self._labels[rows], rates).tolist()  # (H,)
        bucket.step += 1
        self._state.at += 1
        self._images += len(rows)
        if not all(map(math.isfinite, losses)):
            self._flush()  # packs are of the same trials throughout
            losses = self._without_diverged(bucket, losses, "loss")
        self._note(bucket, losses)

    def _note(self, bucket: Bucket, losses: Sequence[float]) -> None:
        for trial, loss in zip(bucket.trials, losses, strict=True):
            self._state.standings[trial].step, self._state.standings[trial].train_loss = bucket.step, loss
        if bucket.trials:
            self._report.steps(bucket.trials, self._state.at, bucket.step, losses)
        self._flush_if_due()

    def _without_diverged(self, bucket: Bucket, losses: Sequence[float], what: str) -> list[float]:
        """What is left once trials whose loss is no longer finite are out. Raises LossDiverged where none is left."""
        for trial, loss in zip(bucket.trials, losses, strict=True):
            if not math.isfinite(loss):
                self._state.standings[trial].status = "diverged"
        if all(standing.status == "diverged" for standing in self._state.standings):
            rate = max(hp.learning_rate for hp in self._trials)
            raise LossDiverged(
                f"The {what} is no longer finite at step {self._state.at}. Lower learning_rate (it is {rate:g}) or "
                'momentum, or set feature_scaling to "standard".'
            )
        kept = [loss for loss in losses if math.isfinite(loss)]
        self._drop(bucket)
        return kept

    def _close_epoch(self) -> None:
        held_out = self._held_out()  # before anything is moved on: it may still be on its way
        self._state.epoch += 1
        for bucket in self._state.buckets:
            bucket.batch = 0
            for trial in bucket.trials:
                self._state.standings[trial].epoch = self._state.epoch
        improved = self._validate() if held_out is not None else set()
        is_best = self._champion() in improved
        last = self._state.epoch == self._spec.hyperparameters.n_epochs or not self._state.buckets
        planned = self._state.epoch % self._spec.checkpoints.every_epochs == 0
        if last or ((is_best or planned) and self._seconds_since_save() >= CHECKPOINT_GAP):
            self._checkpoint(best=is_best)
        elif is_best:
            self._held_best = self._state.copy(), self._metrics(self._champion())

    # --- validation ----------------------------------------------------------------------------------------------

    def _held_out(self) -> Table | None:
        """The scaled validation set, once all that is held out is there."""
        if self._val is None and self._arriving_val is not None:
            table = self._arriving_val.whole().only_readable()
            if self._spec.sweep and not len(table):
                raise DataUnreadable("No validation image can be read: the trials of a sweep cannot be judged.")
            self._val = Table(self._state.scaling(table.features), table.labels, table.readable)
        return self._val if self._val is not None and len(self._val) else None

    def _validate(self) -> set[int]:
        """Judge every trial that trains on the held-out images; those that are better than ever."""
        improved = set()
        for bucket in list(self._state.buckets):
            improved |= self._validate_bucket(bucket)
        self._flush_if_due()
        for bucket in list(self._state.buckets):
            self._drop(bucket)
        return improved

    def _validate_bucket(self, bucket: Bucket) -> set[int]:
        table = self._held_out()
        assert table is not None
        losses, accuracies = head.judge(bucket.stack, table.features.numpy(), table.labels.numpy())
        if not all(map(math.isfinite, losses)):
            accuracies = [a for a, loss in zip(accuracies, losses, strict=True) if math.isfinite(loss)]
            losses = self._without_diverged(bucket, losses, "validation loss")
        return {
            trial
            for place, trial in enumerate(bucket.trials)
            if self._judged(trial, losses[place], accuracies[place], bucket.stack.head(place))
        }

    def _judged(self, trial: int, loss: float, accuracy: float, judged: head.Head) -> bool:
        """Whether this is the trial's best epoch so far."""
        standing, plan = self._state.standings[trial], self._plan
        standing.val_loss, standing.val_accuracy = loss, accuracy
        self._report.validation(
            Validation(
                trial=trial,
                at=self._state.at,
                step=standing.step,
                epoch=standing.epoch,
                val_loss=loss,
                val_accuracy=accuracy,
            )
        )
        improved = is_better(
            standing.metrics, standing.best, plan.metric if plan else "val_loss", plan.min_delta if plan else 0.0
        )
        standing.stale_epochs = 0 if improved else standing.stale_epochs + 1
        if improved:
            standing.best = standing.metrics
            if plan:
                self._state.best[trial] = judged.copy()
        if plan and standing.stale_epochs >= plan.patience:
            standing.status = "stopped_early"
        return improved

    def _drop(self, bucket: Bucket) -> None:
        """Take out of the stack the trials that no longer train."""
        kept = [p for p, trial in enumerate(bucket.trials) if self._state.standings[trial].status == "training"]
        if len(kept) < len(bucket.trials):
            bucket.stack = bucket.stack.only(kept) if kept else bucket.stack
            bucket.trials = [bucket.trials[place] for place in kept]
        self._state.buckets = [bucket for bucket in self._state.buckets if bucket.trials]

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        if self._stop_asked():
            raise Stopped
        if self._seconds_since_save() >= CHECKPOINT_EVERY:
            self._checkpoint()
        elif self._held_best and self._seconds_since_save() >= CHECKPOINT_GAP:
            self._write_held_best()

    def _checkpoint(self, *, best: bool = False) -> None:
        if best:
            self._held_best = None  # a better one
        self._write_held_best()
        self._write(self._state, self._metrics(self._champion() if best else self.leader()), best=best)
        self._saved_step = self._state.at

    def _write_held_best(self) -> None:
        if self._held_best:
            self._write(*self._held_best, best=True)
            self._held_best = None

    def _write(self, state: State, metrics: CheckpointMetrics, *, best: bool) -> None:
        content = checkpoint.packed(state)
        path = Path(self._spec.out) / f"checkpoint-{self._number}.safetensors"
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._flush()  # the steps up to it are told first
        self._report.say(CheckpointLine(number=self._number, path=path.name, sha256=sha256, metrics=metrics, best=best))
        self._number += 1
        self._saved_at = time.monotonic()

    def _metrics(self, trial: int) -> CheckpointMetrics:
        """A trial's, at the job's step."""
        return self._state.standings[trial].metrics.model_copy(update={"step": self._state.at})

    def _seconds_since_save(self) -> float:
        return time.monotonic() - self._saved_at

    def _first_or_resumed_state(self, train: Table) -> State:
        if self._spec.feature_scaling == "standard":
            train = train.whole()
        if self._spec.resume:
            return checkpoint.read(Path(self._spec.resume), self._trials)
        scaling = head.Scaling.none()
        if self._spec.feature_scaling == "standard":
            scaling = head.Scaling.of(train.features[train.readable])
        return checkpoint.fresh(head.fresh(self._spec.seed, self._spec.num_labels), self._trials, scaling)

    def _steps_of(self, batch_size: int) -> int:
        """A trial's, if it stops neither early nor for want of readable images."""
        return self._spec.hyperparameters.n_epochs * math.ceil(len(self._labels) / batch_size)


def orders(spec: TrainerSpec, n: int, first: int = 0) -> Iterator[Integers]:
    """Each epoch's order of n images, derived from the seed; from the epoch `first` on."""
    generator = torch.Generator().manual_seed(spec.seed)
    for epoch in range(spec.hyperparameters.n_epochs):
        order = torch.randperm(n, generator=generator).numpy()  # (n,)
        if epoch >= first:
            yield order


def due(spec: TrainerSpec, n: int, place: Place) -> tuple[list[int], list[int]]:
    """Training images by when they are needed from `place` on: in the running epoch, and only in the next."""
    order = next(orders(spec, n, place.epoch), np.arange(n)).tolist()
    return order[place.position :], order[: place.position]


def learning_rate(hp: Hyperparameters, step: int, total: int) -> float:
    """Of the step after `step` of `total`. Cosine: Loshchilov & Hutter 2016, one half-period down to zero."""
    if hp.lr_schedule == "cosine":
        return hp.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))
    return hp.learning_rate


def is_better(now: CheckpointMetrics, best: CheckpointMetrics | None, metric: str, min_delta: float) -> bool:
    if best is None:
        return True
    value, record = getattr(now, metric), getattr(best, metric)
    return bool(value < record - min_delta if metric == "val_loss" else value > record + min_delta)
