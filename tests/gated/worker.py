"""`python -m tests.gated.worker`: the worker, whose trainers are gated, and whose preflight is taken as passed.

What preflight finds has tests of its own; here it would cost each start some ten seconds of a core.
"""

import os
import sys
from pathlib import Path
from subprocess import Popen
from typing import cast

from services.process import tether
from tests.gated.nursery import NAME, ForkedTrainer
from tests.reports import passed
from workers import main, spare


def forked(*arguments: str) -> "Popen[bytes]":
    return cast("Popen[bytes]", ForkedTrainer(Path(os.environ[NAME])))


main.check_devices = lambda device: [passed()]
if NAME in os.environ:
    spare.start_trainer = forked

if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main.main())
