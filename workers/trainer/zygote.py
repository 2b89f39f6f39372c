"""The zygote's inside: `python -m workers.trainer.zygote FD`, where FD is the socket over which it is asked.

A request is the module to run with its arguments, as JSON, and brings three descriptors: the process's stdin, its
stdout, and a line on which its id and, later, its exit status are told. Once the socket closes, all ends.
"""

import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

MOST = 65_536  # bytes of a request
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Asker:
    """Who asked for a process, and where its end is told."""

    channel: socket.socket
    line: socket.socket


class ForkServer:
    """Of any number of channels."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Asker] = {}
        self._channels: set[socket.socket] = set()
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ending in ENDINGS:  # where all are told to end, its forks may have a checkpoint to write
            signal.signal(ending, signal.SIG_IGN)
        self._selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, 4096))

    def add(self, channel: socket.socket) -> None:
        self._channels.add(channel)
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._heed(channel))

    def serve(self) -> None:
        """Until nobody can ask any more."""
        while self._channels:
            for key, _ in self._selector.select():
                key.data()
            self._reap()

    def _heed(self, channel: socket.socket) -> None:
        request, fds = b"", list[int]()
        with suppress(ConnectionError):
            request, fds, _, _ = socket.recv_fds(channel, MOST, 3)
        if not request:
            self._drop(channel)
            return
        try:
            stdin, stdout, line = fds
            pid = os.fork()
        except (ValueError, OSError):  # not all came, or there is no room: who asked sees its line end
            for fd in fds:
                os.close(fd)
            return
        if pid == 0:
            self._become(json.loads(request), stdin, stdout)
        os.close(stdin)
        os.close(stdout)
        self._started(pid, Asker(channel, socket.socket(fileno=line)))

    def _started(self, pid: int, asker: Asker) -> None:
        self._children[pid] = asker
        _tell(asker, pid)

    def _drop(self, channel: socket.socket) -> None:
        """Who asked is gone: nobody can take what its processes make."""
        self._selector.unregister(channel)
        self._channels.discard(channel)
        channel.close()
        for pid, asker in self._children.items():
            if asker.channel is channel:
                os.kill(pid, signal.SIGKILL)

    def _become(self, arguments: list[str], stdin: int, stdout: int) -> None:
        """This process, a fork, runs the module; it does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for changed in (signal.SIGCHLD, *ENDINGS):
                signal.signal(changed, signal.SIG_DFL)
            os.setsid()
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            self._leave_what_is_the_parents()
            sys.argv = arguments
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(status)

    def _leave_what_is_the_parents(self) -> None:
        """Others' pipes would never end while this process holds them."""
        for held in (*self._channels, *(asker.line for asker in self._children.values())):
            held.detach()
        os.closerange(3, max(map(int, os.listdir("/dev/fd"))) + 1)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, status: int) -> None:
        asker = self._children.pop(pid)
        with asker.line:
            _tell(asker, status)


def _tell(asker: Asker, number: int) -> None:
    with suppress(OSError):  # it may be gone
        asker.line.sendall(f"{number}\n".encode())


def import_what_all_need() -> None:
    """Nothing of it may compute or start a thread: only the thread that forks is in the fork."""
    from workers.trainer import process  # noqa: F401
    from workers.vision import agreement, verdict  # noqa: F401

    with suppress(ImportError):
        from workers.vision import openvino_engine  # noqa: F401


if __name__ == "__main__":
    server = ForkServer()
    server.add(socket.socket(fileno=int(sys.argv[1])))
    import_what_all_need()
    server.serve()
