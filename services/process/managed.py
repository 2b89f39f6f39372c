"""A process of ours that we start, watch and stop: in a session of its own, tethered, with a log.

In a session of its own, as Ctrl-C reaches a whole process group; tethered, so that it does not outlive this one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.contract.timing import Timing

LOG_TAIL = 15  # lines of a dead process's log that are shown
STARTS = 5  # of a process within `timing.restarts_within`; one that needs more is not killed, it is broken


@dataclass
class Managed:
    """A child process with its log, which goes on over restarts. It has `stop_within` seconds to end well; `may_drain`:
    one that ends with 0 has done what it was asked for."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    timing: Timing
    stop_within: float
    may_drain: bool = False
    process: subprocess.Popen[bytes] = field(init=False)
    starts: list[float] = field(default_factory=list)
    is_gone: bool = False  # with all of its session: its pid may be another's by now

    @property
    def may_start_again(self) -> bool:
        return sum(time.monotonic() - at < self.timing.restarts_within for at in self.starts) < STARTS

    def start(self) -> None:
        self.starts = [*self.starts[-STARTS:], time.monotonic()]
        self.is_gone = False
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments, "--tethered"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

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
