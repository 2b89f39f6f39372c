"""A process of ours that we start, watch and stop: in a session of its own, tethered, with a log.

In a session of its own, as Ctrl-C reaches a whole process group; tethered, so that it does not outlive this one.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.contract.timing import Timing

REPLACE_ME = 70  # EX_SOFTWARE: the exit status of a process that another in its place may do better than
LOG_SIZE = 10_000_000  # bytes
LOG_TAIL = 15  # lines of a dead process's log that are shown


@dataclass
class Managed:
    """A child process with its log, which goes on over restarts. It has `stop_within` seconds to end well; `may_drain`:
    one that ends with 0 has done what it was asked for."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    timing: Timing
    stop_within: float
    may_drain: bool = False
    process: subprocess.Popen[bytes] = field(init=False)
    starts: int = 0
    pause: float = 0.0  # before the next start, which grows with each that does not last
    started_at: float = 0.0
    start_again_at: float | None = None  # of one that has ended
    is_gone: bool = False  # with all of its session: its pid may be another's by now

    @property
    def has_refused(self) -> bool:
        """Whether it ended by its own will soon after its first start: what is wrong with it is a person's to mend."""
        by_itself = self.process.returncode > 0 and self.process.returncode != REPLACE_ME
        return by_itself and self.starts == 1 and self._lived < self.timing.restarts_within

    @property
    def _lived(self) -> float:
        return time.monotonic() - self.started_at

    def plan_restart(self) -> float:
        """At once, and later each time that it does not last; in how many seconds."""
        if self._lived >= self.timing.restarts_within:
            self.pause = 0.0
        pause = self.pause
        self.start_again_at = time.monotonic() + pause
        self.pause = min(max(2 * pause, self.timing.restart_first), self.timing.restart_last)
        return pause

    @property
    def is_due(self) -> bool:
        return self.start_again_at is not None and time.monotonic() >= self.start_again_at

    def start(self) -> None:
        self.starts, self.started_at, self.start_again_at = self.starts + 1, time.monotonic(), None
        self.is_gone = False
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                [*self.command, "--tethered"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def rotate_log(self) -> None:
        """Once it is large, it begins anew; the one before is kept."""
        with suppress(OSError):
            if self.log.stat().st_size > LOG_SIZE:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)  # who writes appends

    def stop(self) -> None:
        """SIGTERM, time to end well, then SIGKILL to all that is left of its session."""
        if self.process.poll() is None:
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(self.stop_within)
        self.kill_session()

    def kill_session(self) -> None:
        if self.is_gone:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()  # which closes its end of the tether
        self.is_gone = True

    def epitaph(self) -> str:
        tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        said = "\n".join(f"  {line}" for line in tail) or "  (it said nothing)"
        return f"The {self.name} ended with {self.process.returncode}. Its log, {self.log}, ends with:\n{said}"
