"""One process that has torch, and forks a gated trainer for whoever asks: fifty starts cost one import.

`python -m tests.gated.nursery SOCKET`. A request brings the trainer's stdin and stdout; the answers are its process id
and, later, its exit status, as `subprocess` has it.
"""

import array
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

NAME = "TESTS_NURSERY"  # the environment variable that leads to the socket


class ForkedTrainer:
    """As much of a `subprocess.Popen` as a worker needs of its trainer."""

    def __init__(self, nursery: Path) -> None:
        stdin, self.stdin = _pipe()
        self.stdout, stdout = _pipe()
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(nursery))
        fds = array.array("i", [stdin.fileno(), stdout.fileno()])
        self._line.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        stdin.close()
        stdout.close()
        self._said = self._line.makefile("r")
        self.pid = int(self._said.readline())
        self.returncode: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("trainer", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def _listen(self) -> None:
        with self._line, self._said:
            self.returncode = int(self._said.readline() or -signal.SIGKILL)
        self._ended.set()


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


def forked(nursery: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A trainer, started; its arguments are always those of a tethered one."""
    return cast("subprocess.Popen[bytes]", ForkedTrainer(nursery))


class Nursery:
    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._children: dict[int, socket.socket] = {}
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """For ever."""
        with selectors.DefaultSelector() as selector:
            for source in (self._server, self._woken):
                selector.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._server:
                        self._start()
                    else:
                        os.read(self._woken, 4096)
                self._reap()

    def _start(self) -> None:
        line, _ = self._server.accept()
        _, ancillary, _, _ = line.recvmsg(1, socket.CMSG_SPACE(8))
        fds = array.array("i")
        fds.frombytes(ancillary[0][2])
        worker = int.from_bytes(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        pid = os.fork()
        if pid == 0:
            self._become_trainer(*fds)
        for fd in fds:
            os.close(fd)
        (self._folder / f"trainer-{pid}").write_text(json.dumps(worker))
        self._children[pid] = line
        line.sendall(f"{pid}\n".encode())

    def _become_trainer(self, stdin: int, stdout: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._server.close()
        for line in self._children.values():
            line.close()
        os.setsid()
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        sys.argv = ["trainer", "--tethered"]
        from workers.trainer import __main__ as start

        status = 1
        try:
            status = start.main()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                (self._folder / f"trainer-{pid}").unlink()
                with self._children.pop(pid) as line, suppress(OSError):  # its worker may be gone
                    line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def trainers_of(nursery: Path, worker: int) -> list[int]:
    """Process ids of the trainers that a worker has now."""
    notes = nursery.parent.glob("trainer-*")
    return [int(note.name.split("-")[1]) for note in notes if note.read_text() == json.dumps(worker)]


if __name__ == "__main__":
    nursery = Nursery(Path(sys.argv[1]))  # who asks already waits
    from tests.gated import trainer  # noqa: F401 (torch, and the gate)

    nursery.serve()
