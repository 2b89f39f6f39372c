"""A zygote of gated trainers for whoever asks: fifty workers, and their starts cost one import.

`python -m tests.gated.nursery SOCKET`.
"""

import json
import selectors
import socket
import sys
from pathlib import Path

from workers.trainer.zygote import Asker, ForkServer

NAME = "TESTS_NURSERY"  # the environment variable that leads to the socket


class Nursery(ForkServer):
    """It keeps notes of whose its trainers are."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._folder = path.parent
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._channels.add(self._server)
        self._selector.register(self._server, selectors.EVENT_READ, lambda: self.add(self._server.accept()[0]))

    def _started(self, pid: int, asker: Asker) -> None:
        credentials = asker.channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        worker = int.from_bytes(credentials[:4], sys.byteorder)
        (self._folder / f"trainer-{pid}").write_text(json.dumps(worker))
        super()._started(pid, asker)

    def _ended(self, pid: int, status: int) -> None:
        (self._folder / f"trainer-{pid}").unlink()
        super()._ended(pid, status)


def trainers_of(nursery: Path, worker: int) -> list[int]:
    """Process ids of the trainers that a worker has now."""
    notes = nursery.parent.glob("trainer-*")
    return [int(note.name.split("-")[1]) for note in notes if note.read_text() == json.dumps(worker)]


if __name__ == "__main__":
    nursery = Nursery(Path(sys.argv[1]))  # who asks already waits
    from tests.gated import trainer  # noqa: F401 (torch, and the gate)

    nursery.serve()
