"""When a checkpoint is due, and its writing: whole, in the trainer's folder, told once the steps up to it are."""

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path

from services.contract.lines import CheckpointLine
from services.contract.spec import TrainerSpec
from workers.trainer import checkpoint
from workers.trainer.ranking import Ranking
from workers.trainer.report import Report
from workers.trainer.state import TrainingState


class Checkpointer:
    """At most one each `timing.checkpoint_gap`, but for the first and the last; a better one takes the best's place."""

    def __init__(
        self, spec: TrainerSpec, state: TrainingState, ranking: Ranking, report: Report, flush: Callable[[], None]
    ) -> None:
        self._spec, self._state, self._ranking, self._report, self._flush = spec, state, ranking, report, flush
        self._number = spec.next_checkpoint
        self._saved_at, self._saved_step = -math.inf, state.at
        self._held_best: tuple[TrainingState, int] | None = None  # when the last was just written

    def begin(self) -> None:
        """Number 0, before the first step; a resumed attempt has it already."""
        if self._spec.resume is None:
            self._write_current()

    def after_step(self) -> None:
        """What a killed attempt repeats is bounded, however long an epoch is."""
        if self._seconds_since() >= self._spec.timing.checkpoint_every:
            self._write_current()
        elif self._held_best and self._seconds_since() >= self._spec.timing.checkpoint_gap:
            self.write_held_best()

    def after_epoch(self, *, is_best: bool, is_last: bool) -> None:
        planned = self._state.epoch % self._spec.checkpoints.every_epochs == 0
        if is_last or ((is_best or planned) and self._seconds_since() >= self._spec.timing.checkpoint_gap):
            self._write_current(best=is_best)
        elif is_best:
            self._held_best = self._state.copy(), self._ranking.champion()

    def before_stop(self) -> None:
        if self._state.at > self._saved_step:
            self._write_current()

    def write_held_best(self) -> None:
        if self._held_best:
            self._write(*self._held_best, best=True)
            self._held_best = None

    def _write_current(self, *, best: bool = False) -> None:
        if best:
            self._held_best = None  # a better one
        self.write_held_best()
        trial = self._ranking.champion() if best else self._ranking.leader()
        self._write(self._state, trial, best=best)
        self._saved_step = self._state.at

    def _write(self, state: TrainingState, trial: int, *, best: bool) -> None:
        """`trial` is the one that it is of."""
        content = checkpoint.packed(state, trial)
        standing, trains = state.standings[trial], any(trial in bucket.trials for bucket in state.buckets)
        told = (
            standing.metrics if trains or standing.best is None else standing.best
        )  # of one that has stopped, its best
        metrics = told.model_copy(update={"step": state.at})
        path = Path(self._spec.out) / f"checkpoint-{self._number}.safetensors"
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._flush()
        self._report.say(CheckpointLine(number=self._number, path=path.name, sha256=sha256, metrics=metrics, best=best))
        self._number += 1
        self._saved_at = time.monotonic()

    def _seconds_since(self) -> float:
        return time.monotonic() - self._saved_at
