"""`python -m tests.gated.worker`: the worker, whose trainers are gated, and whose preflight is taken as passed.

What preflight finds has tests of its own; here it would cost each start some ten seconds of a core.
"""

import os
import sys
from pathlib import Path

from services.process import tether
from tests.gated.nursery import NAME
from tests.reports import passed
from workers import main, zygote

main.check_devices = lambda device, kept, start: [passed()]
if NAME in os.environ:
    nursery = Path(os.environ[NAME])
    zygote.Zygote.start = lambda patience: zygote.Zygote.at(nursery)  # type: ignore[method-assign]
    zygote.Starter.here = lambda config: zygote.Starter(forks=True)  # type: ignore[method-assign]

if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main.main())
