"""The gate: a file. While it stands, a trainer that has taken HOLD_AT steps takes no other; a stop passes."""

import os
from pathlib import Path

NAME = "TESTS_GATE"  # the environment variable that leads to it; the house's own settings know nothing of it
HOLD_AT = 220


class Gate:
    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_environment(cls) -> "Gate":
        return cls(Path(os.environ[NAME]))

    @property
    def of_passes(self) -> "Gate":
        """Another one: while it stands, no pass over images begins, but for those who help with it."""
        return Gate(self.path.with_suffix(".passes"))

    @property
    def is_closed(self) -> bool:
        return self.path.exists()

    def close(self) -> None:
        self.path.touch()

    def open(self) -> None:
        self.path.unlink(missing_ok=True)
