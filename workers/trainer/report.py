"""What the trainer says: JSON lines on stdout, steps packed and flushed each 100 ms or 256 steps."""

import os
import sys
import time
from typing import TextIO

from services.contract.events import Line, MetricsLine, Progress

FLUSH_SECONDS = 0.1
FLUSH_STEPS = 256


class Report:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._flushed = time.monotonic()

    @classmethod
    def on_stdout(cls) -> "Report":
        """Keeps stdout for itself: what libraries print goes to stderr."""
        out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(out)

    def say(self, line: Line) -> None:
        """At once. Steps that wait must be flushed first by whoever knows the progress."""
        self._out.write(line.model_dump_json(exclude_none=True) + "\n")
        self._out.flush()

    def step(self, step: int, loss: float) -> bool:
        """Note a step; whether it is time to flush."""
        self._steps.append(step)
        self._losses.append(loss)
        return len(self._steps) >= FLUSH_STEPS or time.monotonic() - self._flushed >= FLUSH_SECONDS

    def flush(self, progress: Progress, *, val_loss: float | None = None, val_accuracy: float | None = None) -> None:
        if self._steps or val_loss is not None:
            self.say(
                MetricsLine(
                    step=self._steps,
                    train_loss=self._losses,
                    epoch=progress.epoch,
                    val_loss=val_loss,
                    val_accuracy=val_accuracy,
                    progress=progress,
                )
            )
        self._steps, self._losses, self._flushed = [], [], time.monotonic()
