"""The next trainer, started before there is a job for it: torch imported, weights loaded and folded, kernels warm.

It is given one job, as any trainer is, so it is as clean as a new one. It waits on its stdin and ends with it.
"""

from services.contract.spec import Prepared
from workers.zygote import Process, Start, discard

TRAINER = "workers.trainer"  # the module that is run


class Spare:
    def __init__(self, prepared: Prepared, memory: int, start: Start) -> None:
        """`memory`: bytes that it may take while it waits; one that needs more waits without torch. 0 for none."""
        self._prepared, self._memory, self._start = prepared, memory, start
        self._waiting: Process | None = None

    def prepare(self) -> None:
        """Have one, if none waits."""
        if self._memory and (self._waiting is None or self._waiting.poll() is not None):
            ahead = ("--ahead", self._prepared.model_dump_json(), "--memory", str(self._memory))
            self._waiting = self._start(TRAINER, "--tethered", *ahead)

    def take(self) -> Process:
        """The one that waits, or a new trainer."""
        spare, self._waiting = self._waiting, None
        return spare if spare is not None and spare.poll() is None else self._start(TRAINER, "--tethered")

    def close(self) -> None:
        if self._waiting is not None:
            discard(self._waiting)  # it was given no job
            self._waiting = None
