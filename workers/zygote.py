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
from typing import IO, Protocol

from services.contract.timing import Timing
from services.environment import bare_environment, of_module
from services.settings import Settings

log = logging.getLogger("headway.worker")

GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's, AMD's, Windows' for its Linux
CLOSES_WITHIN = 0.01  # of its patience
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


class ZygoteGone(Exception):
    """It does not answer."""


class Starter:
    """Starts a module of ours as a process that decodes strangers' bytes: its stdin and stdout are pipes, and it ends
    when this process does. `patience`: seconds that a zygote may take to answer."""

    def __init__(self, *, forks: bool = False, patience: float = Timing().trainer_start) -> None:
        self._patience, self._turn = patience, threading.Lock()
        self._zygote = Zygote.start(patience) if forks else None

    @classmethod
    def here(cls, config: Settings) -> "Starter":
        """With a zygote, where it is of use."""
        has_gpu = config.device != "cpu" and any(map(os.path.exists, GPU_DRIVERS))
        forks = sys.platform == "linux" and not has_gpu and config.spare_memory > 0
        return cls(forks=forks, patience=config.timing.trainer_start)

    def __call__(self, module: str, *arguments: str) -> Process:
        """Blocks until the zygote has answered."""
        with self._turn:
            if self._zygote is not None:
                try:
                    return self._zygote.fork(module, *arguments)
                except ZygoteGone:
                    log.warning("the zygote is gone: this process is started anew, and so is a zygote")
                    self._zygote.close()
                    self._zygote = Zygote.start(self._patience)
        return subprocess.Popen(
            of_module(module, *arguments),
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
    """Our end of its channel: one request at a time."""

    def __init__(
        self,
        channel: socket.socket,
        process: "subprocess.Popen[bytes] | None" = None,
        patience: float = Timing().trainer_start,
    ) -> None:
        self._channel, self._process, self._patience = channel, process, patience

    @classmethod
    def start(cls, patience: float) -> "Zygote":
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                of_module("workers.trainer.zygote", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                env=bare_environment() | ONE_THREAD,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return cls(ours, process, patience)

    @classmethod
    def at(cls, path: Path) -> "Zygote":
        """One that serves several."""
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(str(path))
        return cls(channel)

    def fork(self, module: str, *arguments: str) -> "Forked":
        """Waits until it has imported what it needs. Raises ZygoteGone."""
        return Forked(self._channel, [module, *arguments], self._patience)

    def close(self) -> None:
        """It ends, and what it forked with it."""
        self._channel.close()
        if self._process is not None:
            try:
                self._process.wait(CLOSES_WITHIN * self._patience)
            except subprocess.TimeoutExpired:  # it was stopped, or hangs; what it forked ends with its line
                self._process.kill()
                self._process.wait()


class Forked:
    """A process that the zygote forked, which tells how it ended, as `subprocess` has it."""

    def __init__(self, channel: socket.socket, arguments: list[str], patience: float) -> None:
        stdin, self.stdin = _pipe()
        self.stdout, stdout = _pipe()
        self._line, line = socket.socketpair()
        self._line.settimeout(patience)
        self._said = self._line.makefile("r")
        try:
            with stdin, stdout, line:
                fds = [stdin.fileno(), stdout.fileno(), line.fileno()]
                socket.send_fds(channel, [json.dumps(arguments).encode()], fds)
            answer = self._said.readline()
        except OSError:
            answer = ""
        if not answer:
            for ours in (self.stdin, self.stdout, self._said, self._line):
                ours.close()
            raise ZygoteGone
        self._line.settimeout(None)
        self.pid = int(answer)
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
            with suppress(ProcessLookupError):  # its end is being told
                os.kill(self.pid, signum)

    def _listen(self) -> None:
        with self._line, self._said:
            said = self._said.readline()
        if not said:  # the zygote died: nobody would say how this one ends
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.returncode = int(said or -signal.SIGKILL)
        self._ended.set()


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")
