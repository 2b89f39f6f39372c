"""A clock by which something is deleted or given up: only one that has not jumped."""

import math

from services.contract.timing import Timing


class Steady:
    """Whether a clock has run beside the monotonic one, without a jump, for long enough to delete by it."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._offset, self._since = math.inf, math.inf

    def sees(self, clock: float, monotonic: float) -> bool:
        offset = clock - monotonic
        if not abs(offset - self._offset) <= self._timing.clock_jump:
            self._since = monotonic
        self._offset = offset
        return monotonic - self._since >= self._timing.clock_steady
