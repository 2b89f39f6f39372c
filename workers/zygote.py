"""The zygote: a process that has imported torch and computed nothing, and forks whoever is to run: in some ten
milliseconds, where an import takes seconds.

On Linux, and where no GPU's driver could have been opened before the fork. Elsewhere, and should it die, processes are
started anew. `workers.trainer.zygote` is its inside.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn, Protocol

from services.environment import bare_environment

log = logging.getLogger("headway.worker")

GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, Windows' for its Linux
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}  # see head.HeadStack


class Process(Protocol):
    """As much of a `subprocess.Popen` as its starter needs."""

    pid: int

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Start = Callable[..., Process]  # of a module, with its arguments


def discard(process: Process) -> None:
    """It has nothing to save."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class Starter:
    """Starts a module of ours as a process that decodes strangers' bytes: its stdin and stdout are pipes, and it ends
    when this process does."""

    def __init__(self, *, forks: bool = False) -> None:
        self._forks = forks
        self._zygote = Zygote.start() if forks else None

    @classmethod
    def here(cls, device: str, spare_memory: int) -> "Starter":
        """With a zygote, where it is of use."""
        has_gpu = device != "cpu" and any(map(os.path.exists, GPU_DRIVERS))
        return cls(forks=sys.platform == "linux" and not has_gpu and spare_memory > 0)

    def __call__(self, module: str, *arguments: str) -> Process:
        if self._zygote is not None:
            try:
                return self._zygote.fork(module, *arguments)
            except OSError as error:
                log.warning("the zygote is gone (%s): this process is started anew, and so is a zygote", error)
                self.close()
                self._zygote = Zygote.start()
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=bare_environment(),
            start_new_session=True,  # a Ctrl-C at the worker must reach it through us, as a drain
        )

    def close(self) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None


class Zygote:
    """Our end of its channel."""

    def __init__(self, channel: socket.socket, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self._channel, self._process = channel, process
        self._turn = threading.Lock()

    @classmethod
    def start(cls) -> "Zygote":
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.trainer.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=bare_environment() | ONE_THREAD,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return cls(ours, process)

    @classmethod
    def at(cls, path: Path) -> "Zygote":
        """One that serves several."""
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(str(path))
        return cls(channel)

    def fork(self, module: str, *arguments: str) -> "Forked":
        """Waits until it has imported what it needs. Raises OSError where it is gone."""
        with self._turn:
            return Forked(self._channel, [module, *arguments])

    def close(self) -> None:
        """It ends, and what it forked with it."""
        self._channel.close()
        if self._process is not None:
            self._process.wait()


class Forked:
    """A process that the zygote forked, which tells how it ended, as `subprocess` has it."""

    def __init__(self, channel: socket.socket, arguments: list[str]) -> None:
        stdin, self.stdin = _pipe()
        self.stdout, stdout = _pipe()
        self._line, line = socket.socketpair()
        self._said = self._line.makefile("r")
        try:
            with stdin, stdout, line:
                fds = [stdin.fileno(), stdout.fileno(), line.fileno()]
                socket.send_fds(channel, [json.dumps(arguments).encode()], fds)
            self.pid = int(self._said.readline() or _gone())
        except OSError:
            for ours in (self.stdin, self.stdout, self._said, self._line):
                ours.close()
            raise
        self.returncode: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._listen, daemon=True, name="forked").start()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, signum)

    def _listen(self) -> None:
        with self._line, self._said:
            said = self._said.readline()
        if not said:  # the zygote died: nobody would say how this one ends
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.returncode = int(said or -signal.SIGKILL)
        self._ended.set()


def _gone() -> NoReturn:
    raise ConnectionResetError("it does not answer")


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")
