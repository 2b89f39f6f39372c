"""What a worker is about just now, and what it may be asked: a small state machine, safe to ask from any thread.

idle ──begin──▶ taking ──end──▶ idle
idle ──leave──▶ draining            taking ──leave──▶ leaving ──end──▶ draining
any  ──drain──▶ draining, which is the end
"""

import threading
from collections.abc import Callable
from enum import StrEnum


class Phase(StrEnum):
    IDLE = "idle"
    TAKING = "taking"  # a job is looked for, or worked on
    LEAVING = "leaving"  # the same, and no other is taken after it
    DRAINING = "draining"  # no job is taken, one that is worked on is handed on, and the process ends


class Duty:
    def __init__(self, end_process: Callable[[], None]) -> None:
        """`end_process` is called once, as draining begins, unless the process ends already."""
        self._end_process = end_process
        self._lock = threading.Lock()
        self._phase = Phase.IDLE

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_draining(self) -> bool:
        """Whether a job that is worked on must be handed on."""
        return self._phase is Phase.DRAINING

    @property
    def takes_jobs(self) -> bool:
        return self._phase in (Phase.IDLE, Phase.TAKING)

    def begin(self) -> bool:
        """There may be a job: whether it may be looked for."""
        return self._move({Phase.IDLE: Phase.TAKING})

    def end(self) -> None:
        """The job has ended, or there was none."""
        if self._move({Phase.TAKING: Phase.IDLE, Phase.LEAVING: Phase.DRAINING}) and self.is_draining:
            self._end_process()

    def leave(self) -> None:
        """No other job is taken; one that is worked on is finished first."""
        if self._move({Phase.IDLE: Phase.DRAINING, Phase.TAKING: Phase.LEAVING}) and self.is_draining:
            self._end_process()

    def drain(self) -> None:
        """Now."""
        if self._move(dict.fromkeys((Phase.IDLE, Phase.TAKING, Phase.LEAVING), Phase.DRAINING)):
            self._end_process()

    def process_ends(self) -> None:
        """It was told so from outside: a drain without our doing."""
        self._move(dict.fromkeys(Phase, Phase.DRAINING))

    def _move(self, moves: dict[Phase, Phase]) -> bool:
        with self._lock:
            if self._phase not in moves:
                return False
            self._phase = moves[self._phase]
            return True
