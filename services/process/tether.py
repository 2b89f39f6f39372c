"""A tether: a process started with `--tethered` ends when the one that started it is gone, however that went."""

import os
import signal
import sys
import threading


def hold_if_asked() -> None:
    """With `--tethered`, stdin is the tether: its end is taken as a SIGTERM."""
    if "--tethered" in sys.argv[1:]:
        threading.Thread(target=_wait_for_the_end, daemon=True, name="tether").start()


def _wait_for_the_end() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
