"""What a worker is about just now, and what it may be asked: a small state machine, safe to ask from any thread.

idle ──begin──▶ taking ──end──▶ idle
idle ──leave──▶ draining            taking ──leave──▶ leaving ──end──▶ draining
any  ──drain──▶ draining, which is the end
"""

import threading
from collections.abc import Callable
from enum import StrEnum


class DutyPhase(StrEnum):
    IDLE = "idle"
    TAKING = "taking"  # a job is looked for, or worked on
    LEAVING = "leaving"  # the same, and no other is taken after it
    DRAINING = "draining"  # no job is taken, one that is worked on is handed on, and the process ends


class Duty:
    def __init__(self, end_process: Callable[[], None]) -> None:
        """`end_process` is called once, as draining begins, unless the process ends already."""
        self._end_process = end_process
        self._lock = threading.RLock()  # a signal may come while it is held
        self._phase = DutyPhase.IDLE

    @property
    def phase(self) -> DutyPhase:
        return self._phase

    @property
    def is_draining(self) -> bool:
        """Whether a job that is worked on must be handed on."""
        return self._phase is DutyPhase.DRAINING

    @property
    def takes_jobs(self) -> bool:
        return self._phase in (DutyPhase.IDLE, DutyPhase.TAKING)

    def begin(self) -> bool:
        """There may be a job: whether it may be looked for."""
        return self._move({DutyPhase.IDLE: DutyPhase.TAKING}) is not None

    def end(self) -> None:
        """The job has ended, or there was none."""
        self._move_and_end({DutyPhase.TAKING: DutyPhase.IDLE, DutyPhase.LEAVING: DutyPhase.DRAINING})

    def leave(self) -> None:
        """No other job is taken; one that is worked on is finished first."""
        self._move_and_end({DutyPhase.IDLE: DutyPhase.DRAINING, DutyPhase.TAKING: DutyPhase.LEAVING})

    def drain(self) -> None:
        """Now."""
        before = (DutyPhase.IDLE, DutyPhase.TAKING, DutyPhase.LEAVING)
        self._move_and_end(dict.fromkeys(before, DutyPhase.DRAINING))

    def process_ends(self) -> None:
        """It was told so from outside: a drain without our doing."""
        self._move(dict.fromkeys(DutyPhase, DutyPhase.DRAINING))

    def _move_and_end(self, moves: dict[DutyPhase, DutyPhase]) -> None:
        if self._move(moves) is DutyPhase.DRAINING:
            self._end_process()

    def _move(self, moves: dict[DutyPhase, DutyPhase]) -> DutyPhase | None:
        """Where this call led; None if nowhere."""
        with self._lock:
            if self._phase not in moves:
                return None
            self._phase = moves[self._phase]
            return self._phase
