"""A stop that was asked for: a wish, looked at between batches. Only the standard library, as the trainer's start."""

import signal
from types import FrameType


class Stopped(Exception):
    """The trainer was asked to stop, and does."""


class StopAsked:
    """Whether SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
