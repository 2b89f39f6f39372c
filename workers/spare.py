"""The next trainer, started before there is a job for it: torch imported, weights loaded and folded, kernels warm.

It is given one job, as any trainer is, so it is as clean as a new one. It waits on its stdin and ends with it.
"""

import subprocess
import sys

from services.contract.spec import Prepared
from services.environment import bare_environment

TRAINER = "workers.trainer"  # the module that is run


class Spare:
    def __init__(self, prepared: Prepared, memory: int) -> None:
        """`memory`: bytes that it may take while it waits; one that needs more waits without torch. 0 for none."""
        self._prepared, self._memory = prepared, memory
        self._waiting: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Have one, if none waits."""
        if self._memory and (self._waiting is None or self._waiting.poll() is not None):
            ahead = ("--ahead", self._prepared.model_dump_json(), "--memory", str(self._memory))
            self._waiting = start_trainer(*ahead)

    def take(self) -> subprocess.Popen[bytes]:
        """The one that waits, or a new trainer."""
        spare, self._waiting = self._waiting, None
        return spare if spare is not None and spare.poll() is None else start_trainer()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.kill()  # it was given no job: it has nothing to save
            self._waiting.communicate()
            self._waiting = None


def start_trainer(*arguments: str) -> subprocess.Popen[bytes]:
    """Tethered: it ends by itself when this process does, however that happens."""
    return subprocess.Popen(
        [sys.executable, "-m", TRAINER, "--tethered", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=bare_environment(),  # it decodes what strangers sent
        start_new_session=True,  # a Ctrl-C at the worker must reach it through us, as a drain
    )
