"""What the trainer says: JSON lines on stdout, steps packed and flushed each `timing.flush` or 256 steps.

A thread writes, so that whoever reads slowly, or not at all while Redis is away, never holds up the training: steps
are packed on until the line before them was taken.
"""

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from services.contract.lines import AliveLine, Line, MetricsLine, SpanLine, Steps, Validation
from services.contract.progress import Progress, Trial
from services.contract.timing import TrainerTiming

ALIVE = AliveLine().model_dump_json() + "\n"
FLUSH_STEPS = 256
MOST = 1_000_000  # numbers packed at most, some 20 MB a line; then the training does wait, so that memory is bounded

FEATURES_SHARE, TRAINING_SHARE = 80, 19  # of a job's percent, where no image is known; the rest is the export


class Report:
    """The one who speaks. It also knows how far the job has come, in both halves of its work."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_traced = False
        self.timing = TrainerTiming()  # until a spec brings its own
        self._moved_at = -math.inf  # when the work last went on
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._packs: dict[tuple[int, ...], Steps] = {}
        self._validations: list[Validation] = []
        self._packed = 0  # steps and validations
        self._numbers = 0  # in them
        self._flushed = time.monotonic()
        self._progress = Progress()
        self.features = 0.0  # the share of the features that is there
        self.pass_share = 1.0  # of the images, which need the backbone's pass: the others were known
        self._writer = threading.Thread(target=self._write, daemon=True, name="report")
        self._writer.start()

    @classmethod
    def on_stdout(cls) -> "Report":
        """Keeps stdout for itself: what libraries print goes to stderr."""
        out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(out)

    def give_stdout_back(self) -> None:
        """To whatever this process becomes."""
        os.dup2(self._out.fileno(), 1)

    def begin(self, timing: TrainerTiming, *, is_traced: bool = False) -> None:
        """There is a job."""
        self.timing, self._is_traced = timing, is_traced
        self.moves()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Within, this is done."""
        began = time.time()
        yield
        self.did(name, began)

    def did(self, name: str, began: float) -> None:
        """Since `began` (Unix time, s), for the attempt's trace, where there is one."""
        if self._is_traced:
            self.say(SpanLine(name=name, began=began, ended=time.time()))

    def moves(self) -> None:
        """The work goes on."""
        self._moved_at = time.monotonic()

    @contextmanager
    def at_length(self) -> Iterator[None]:
        """Within, the work is one step that may take long."""
        self._moved_at = math.inf
        yield
        self.moves()

    def close(self) -> None:
        """Once all was written."""
        self._lines.put(None)
        self._writer.join()

    def progress(self, **changes: object) -> Progress:
        """How far the job is, with these fields anew; its percent follows."""
        now = self._progress.model_copy(update=changes)
        trained = now.step / now.total_steps if now.total_steps else 0.0
        passed = FEATURES_SHARE * self.pass_share
        percent = round(passed * self.features + (FEATURES_SHARE - passed + TRAINING_SHARE) * trained, 1)
        self._progress = now.model_copy(update={"percent": percent} | changes)
        return self._progress

    def say(self, line: Line) -> None:
        """In its turn. Steps that wait must be flushed first."""
        self.moves()
        self._lines.put(line.model_dump_json(exclude_none=True) + "\n")

    def steps(self, trials: Sequence[int], at: int, step: int, losses: Sequence[float]) -> None:
        """A step of trials that share their batches."""
        self.moves()
        key = tuple(trials)
        pack = self._packs.get(key)
        if pack is None:
            pack = self._packs[key] = Steps(trials=list(key), at=[], step=[], train_loss=[[] for _ in key])
        pack.at.append(at)
        pack.step.append(step)
        for series, loss in zip(pack.train_loss, losses, strict=True):
            series.append(loss)
        self._packed += 1
        self._numbers += len(losses)

    def validation(self, validation: Validation) -> None:
        self._validations.append(validation)
        self._packed += 1
        self._numbers += 1

    @property
    def is_due(self) -> bool:
        """Whether it is time to flush."""
        if self._lines.unfinished_tasks:  # the line before is not taken yet
            return self._numbers >= MOST
        return self._packed >= FLUSH_STEPS or time.monotonic() - self._flushed >= self.timing.flush

    def flush(self, progress: Progress, standings: Callable[[], list[Trial]], *, each_time: bool = False) -> None:
        """Where the trials stand is told after a validation, or each time."""
        if self._numbers >= MOST:
            self._lines.join()
        if self._packed:
            trials = standings() if self._validations or each_time else []
            steps = list(self._packs.values())
            self.say(MetricsLine(steps=steps, validations=self._validations, trials=trials, progress=progress))
        self._packs, self._validations, self._packed, self._numbers = {}, [], 0, 0
        self._flushed = time.monotonic()

    def _write(self) -> None:
        while True:
            try:
                line = self._lines.get(timeout=self.timing.alive_every)
            except queue.Empty:
                if time.monotonic() - self._moved_at < self.timing.stuck:
                    self._put(ALIVE)
                continue
            if line is None:
                return
            self._put(line)
            self._lines.task_done()

    def _put(self, line: str) -> None:
        try:
            self._out.write(line)
            self._out.flush()
        except OSError:  # nobody listens any more: what would come of it is for nobody
            os._exit(1)
