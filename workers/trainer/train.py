"""The loop: SGD on a head over features, checkpointed, stopped on request, resumed to the letter.

torch.manual_seed(seed); head = nn.Linear(512, num_labels)
order = torch.Generator().manual_seed(seed)
for epoch in range(n_epochs):
    for batch in torch.randperm(n, generator=order).split(batch_size):
        loss = F.cross_entropy(head(features[batch]), labels[batch])   # then SGD's step
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from services.contract.errors import LossDiverged
from services.contract.events import CheckpointLine, CheckpointMetrics, Progress
from services.contract.spec import Hyperparameters, TrainerSpec
from workers.trainer import checkpoint, head
from workers.trainer.checkpoint import Place, State
from workers.trainer.evaluate import Table, loss_and_accuracy
from workers.trainer.report import Report

CHECKPOINT_EVERY = 10.0  # seconds: what a killed attempt repeats at most, however long an epoch is
CHECKPOINT_GAP = 1.0  # seconds between two that are neither first, best nor last


class Stopped(Exception):
    """The supervisor asked the trainer to stop; a checkpoint was written."""


class Training:
    """One attempt at a job's loop."""

    def __init__(
        self, spec: TrainerSpec, train: Table, val: Table | None, report: Report, stop_asked: Callable[[], bool]
    ) -> None:
        self._spec, self._report, self._stop_asked = spec, report, stop_asked
        self._hp = spec.hyperparameters
        self._number = spec.next_checkpoint
        self._saved_at = -math.inf
        self._state = self._first_or_resumed_state(train)
        self._train = Table(self._state.scaling(train.features), train.labels, train.readable)
        self._val = val and Table(self._state.scaling(val.features), val.labels, val.readable)
        self._total = self._hp.n_epochs * math.ceil(len(train) / self._hp.batch_size)
        self._epoch_now = self._state.place.epoch  # counted from 1 while it runs
        self._began, self._began_at_step = time.monotonic(), self._state.place.step

    def run(self) -> State:
        """The state after the last epoch; its head is the best one where early stopping was asked for. Raises
        Stopped, LossDiverged."""
        if self._spec.resume is None:
            self._checkpoint()
        for epoch, order in self._orders():
            if self._state.place.stopped_early:
                break
            self._epoch(epoch, order)
        self._report.flush(self.progress())
        if self._spec.early_stopping and self._state.best_head:
            self._state.head.load_state_dict(self._state.best_head)
        return self._state

    def progress(self) -> Progress:
        place = self._state.place
        seconds = time.monotonic() - self._began
        rate = (place.step - self._began_at_step) / seconds if seconds > 0 else 0.0  # steps a second
        return Progress(
            phase="training",
            percent=round(80 + 19 * place.step / self._total, 1),
            epoch=self._epoch_now,
            n_epochs=self._hp.n_epochs,
            step=place.step,
            total_steps=self._total,
            images=len(self._train),
            total_images=len(self._train),
            images_per_second=round(rate * self._hp.batch_size, 1) or None,
            eta_seconds=round((self._total - place.step) / rate, 1) if rate else None,
        )

    # --- an epoch ------------------------------------------------------------------------------------------------

    def _orders(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Each epoch's order from the seed, from the epoch on in which the state stands."""
        generator = torch.Generator().manual_seed(self._spec.seed)
        for epoch in range(self._hp.n_epochs):
            order = torch.randperm(len(self._train), generator=generator)  # (n,)
            if epoch >= self._state.place.epoch:
                yield epoch, order

    def _epoch(self, epoch: int, order: torch.Tensor) -> None:
        self._epoch_now = epoch + 1
        batches = order.split(self._hp.batch_size)
        for index in range(self._state.place.batch, len(batches)):
            self._batch(batches[index])
            self._state.place = self._state.place.moved(batch=index + 1)
            self._checkpoint_if_due()
        self._close_epoch(epoch)

    def _batch(self, batch: torch.Tensor) -> None:
        batch = batch[self._train.readable[batch]]  # what cannot be decoded drops out of its batch
        if len(batch) == 0:
            return
        place, state = self._state.place, self._state
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(self._hp, place.step, self._total)
        state.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(state.head(self._train.features[batch]), self._train.labels[batch])
        loss.backward()
        state.optimizer.step()
        self._note(place.step + 1, loss.item())

    def _note(self, step: int, loss: float) -> None:
        self._refuse_diverged(loss, "loss", step)
        self._state.place = self._state.place.moved(step=step, train_loss=loss)
        if self._report.step(step, loss):
            self._report.flush(self.progress())

    def _refuse_diverged(self, loss: float, what: str, step: int) -> None:
        if not math.isfinite(loss):
            self._report.flush(self.progress())
            raise LossDiverged(
                f"The {what} is no longer finite at step {step}. Lower learning_rate (it is {self._hp.learning_rate}) "
                'or momentum, or set feature_scaling to "standard".'
            )

    def _close_epoch(self, epoch: int) -> None:
        self._state.place = self._state.place.moved(epoch=epoch + 1, batch=0)
        improved = self._validate(epoch) if self._val is not None and len(self._val) else False
        last = epoch + 1 == self._hp.n_epochs or self._state.place.stopped_early
        on_plan = (
            epoch + 1
        ) % self._spec.checkpoints.every_epochs == 0 and self._seconds_since_save() >= CHECKPOINT_GAP
        if improved or last or on_plan:
            self._checkpoint(best=improved)

    def _validate(self, epoch: int) -> bool:
        """Judge the head on the held-out images; whether it is the best so far."""
        assert self._val is not None
        loss, accuracy = loss_and_accuracy(self._state.head, self._val)
        self._refuse_diverged(loss, "validation loss", self._state.place.step)
        place = self._state.place.moved(val_loss=loss, val_accuracy=accuracy)
        plan = self._spec.early_stopping
        improved = is_better(
            place.metrics, place.best, plan.metric if plan else "val_loss", plan.min_delta if plan else 0.0
        )
        if improved:
            place = place.moved(best=place.metrics.model_copy(update={"epoch": epoch + 1}), stale_epochs=0)
            if plan:
                self._state.best_head = {k: v.clone() for k, v in self._state.head.state_dict().items()}
        else:
            place = place.moved(stale_epochs=place.stale_epochs + 1)
        self._state.place = place.moved(stopped_early=bool(plan and place.stale_epochs >= plan.patience))
        self._report.flush(self.progress(), val_loss=loss, val_accuracy=accuracy)
        return improved

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        if self._stop_asked():
            self._checkpoint()
            raise Stopped
        if self._seconds_since_save() >= CHECKPOINT_EVERY:
            self._checkpoint()

    def _checkpoint(self, *, best: bool = False) -> None:
        path = Path(self._spec.out) / f"checkpoint-{self._number}.safetensors"
        sha256 = checkpoint.write(self._state, path)
        self._report.flush(self.progress())  # the steps up to it are told first
        metrics = self._state.place.metrics
        self._report.say(CheckpointLine(number=self._number, path=path.name, sha256=sha256, metrics=metrics, best=best))
        self._number += 1
        self._saved_at = time.monotonic()

    def _seconds_since_save(self) -> float:
        return time.monotonic() - self._saved_at

    def _first_or_resumed_state(self, train: Table) -> State:
        layer = head.fresh(self._spec.seed, self._spec.num_labels)
        scaling = head.Scaling.none()
        if self._spec.feature_scaling == "standard":
            scaling = head.Scaling.of(train.features[train.readable])
        state = State(layer, head.optimizer(layer, self._hp), scaling, Place())
        return checkpoint.read(state, Path(self._spec.resume)) if self._spec.resume else state


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
