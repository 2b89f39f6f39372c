"""Everything on one machine: an embedded Valkey, the API, the reaper, the workers and a predictor, started and stopped
in order; what is killed is started again.

Each process runs in a session of its own (Ctrl-C reaches a whole process group, and Valkey must outlive the workers'
last checkpoints) and is tethered to this one, so that none outlives it, however it ends.
"""

import fcntl
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import httpx

from services.environment import of_module
from services.process import embedded
from services.process.managed import Managed
from services.settings import Settings

MOST_OF_A_SOCKET = 60  # bytes of the path above its folder; macOS takes 104 in all


class StackError(Exception):
    """Why the stack cannot run; a sentence for the user."""


@dataclass
class Stack:
    """The running processes, in the order they started."""

    settings: Settings
    url: str
    say: Callable[[str], None]
    processes: list[Managed] = field(default_factory=list)

    def check(self) -> None:
        """Starts again what has ended, lets go of a drained worker. Raises StackError for what refuses to start."""
        for managed in [managed for managed in self.processes if managed.process.poll() is not None]:
            if managed.start_again_at is None:
                self._is_ended(managed)
            elif managed.is_due:
                managed.start()
        for managed in self.processes:
            managed.rotate_log()

    def _is_ended(self, managed: Managed) -> None:
        status = managed.process.returncode
        if managed.has_refused:
            raise StackError(managed.epitaph())
        managed.kill_session()
        if status == 0 and managed.may_drain:
            self.processes.remove(managed)
            self._tell(f"The {managed.name} was drained and has ended.")
            return
        how = f"was killed ({signal.strsignal(-status)})" if status < 0 else f"ended with {status}"
        pause = managed.plan_restart()
        self._tell(f"The {managed.name} {how} and is started again{f' in {pause:g} s' if pause else ''}.")

    def _tell(self, sentence: str) -> None:
        with suppress(RuntimeError):  # a signal may have come in the middle of another print
            self.say(sentence)


@contextmanager
def running(
    settings: Settings,
    *,
    workers: int,
    autoscaler: bool = False,
    say: Callable[[str], None] = print,
    worker: str = "workers.main",
    predictor: bool = True,
) -> Iterator[Stack]:
    """The whole stack, ready to serve; stopped in the reverse order: autoscaler, predictor, workers, reaper, API,
    store.

    `worker` is the module that a worker runs; without a `predictor` models can be trained, and not be asked.
    """
    refusal = settings.refusal_to_serve()
    if refusal is not None:
        raise StackError(refusal)
    _refuse_busy_port(settings)
    with ExitStack() as stop:
        data = _made_folder(settings.data_dir)
        stop.enter_context(locked(data))
        sockets = Path(stop.enter_context(short_folder()))
        settings = settings.model_copy(update={"data_dir": data})
        if predictor:
            settings = settings.model_copy(update={"predictor_url": f"unix://{sockets / 'predictor.sock'}"})
        stack = Stack(settings, _url(settings), say)
        timing = settings.timing
        if not settings.redis_url:
            stack.settings = _start_store(stack, stop, sockets / "valkey.sock")
        _start(stack, stop, "api", "services.api", stop_within=timing.api_stop)
        _start(stack, stop, "reaper", "services.reaper", stop_within=timing.reaper_stop)
        for number in range(1, workers + 1):
            _start(stack, stop, f"worker-{number}", worker, stop_within=timing.worker_stop, may_drain=True)
        if predictor:
            _start_predictor(stack, stop, sockets / "predictor.sock")
        if autoscaler:
            _start(stack, stop, "autoscaler", "services.autoscaler", stop_within=timing.autoscaler_stop)
        _wait_until_ready(stack)
        yield stack


@contextmanager
def watched(stack: Stack) -> Iterator[None]:
    """Within, the processes are looked after, whatever this thread waits for; StackError comes here and now."""

    def look(signum: int, frame: FrameType | None) -> None:
        try:
            stack.check()
        finally:
            signal.setitimer(
                signal.ITIMER_REAL, stack.settings.timing.watch_every
            )  # only now: a look must not interrupt another

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, stack.settings.timing.watch_every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# --- the processes -------------------------------------------------------------------------------------------------


def _start_store(stack: Stack, stop: ExitStack, socket_path: Path) -> Settings:
    """The embedded Valkey, on a socket that only this user can reach; the settings that lead to it."""
    data = _made_folder(stack.settings.data_dir / "valkey")
    arguments = (str(data), str(socket_path))
    timing = stack.settings.timing
    _start(stack, stop, "store", "services.process.embedded", *arguments, stop_within=timing.store_stop)
    settings = stack.settings.model_copy(update={"redis_url": f"unix://{socket_path}"})
    deadline = time.monotonic() + timing.ready
    while not embedded.answers(socket_path):
        stack.check()
        if time.monotonic() > deadline:
            raise StackError(
                f"The embedded store did not start within {timing.ready:g} s; see {stack.processes[0].log}."
            )
        time.sleep(0.05)
    return settings


def _start_predictor(stack: Stack, stop: ExitStack, socket_path: Path) -> None:
    timing, environment = stack.settings.timing, stack.settings.environment_of_predictor()
    arguments = ("--socket", str(socket_path))
    _start(
        stack,
        stop,
        "predictor",
        "workers.predictor",
        *arguments,
        stop_within=timing.api_stop,
        environment=environment,
    )


def _start(
    stack: Stack,
    stop: ExitStack,
    name: str,
    module: str,
    *arguments: str,
    stop_within: float,
    may_drain: bool = False,
    environment: Mapping[str, str] | None = None,
) -> None:
    log = _made_folder(stack.settings.data_dir / "logs") / f"{name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))  # of the start before
    environment = environment or stack.settings.as_environment()
    managed = Managed(
        name, of_module(module, *arguments), environment, log, stack.settings.timing, stop_within, may_drain
    )
    managed.start()
    stack.processes.append(managed)
    stop.callback(managed.stop)


def _wait_until_ready(stack: Stack) -> None:
    timing = stack.settings.timing
    deadline = time.monotonic() + timing.ready
    while True:
        stack.check()
        with suppress(httpx.TransportError):
            if httpx.get(f"{stack.url}/readyz", timeout=timing.probe, trust_env=False).status_code == 200:
                return
        if time.monotonic() > deadline:
            logs = f"{stack.settings.data_dir}/logs"
            raise StackError(f"The API did not become ready within {timing.ready:g} s; see {logs}.")
        time.sleep(0.05)


# --- what could be in the way --------------------------------------------------------------------------------------


def _refuse_busy_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host.strip("[]"), settings.port))
        except OSError as error:
            raise StackError(
                f"Port {settings.port} on {settings.host} cannot be used ({error.strerror}). "
                "Stop what holds it, or choose another with --port."
            ) from None


def _made_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
        (probe := path / ".writable").touch()
        probe.unlink()
    except OSError as error:
        raise StackError(
            f"The folder {path} cannot be written ({error.strerror}). Choose another with --data-dir."
        ) from None
    return path.absolute()


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """The data folder is this process's alone. Raises StackError."""
    with (data / "lock").open("a") as file:
        _lock(file, data)
        yield


def _lock(file: IO[str], data: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StackError(
            f"Another `headway up` uses the folder {data}. Stop it, or choose another folder with --data-dir."
        ) from None


@contextmanager
def short_folder() -> Iterator[str]:
    """For the socket: its path may have some hundred bytes only, and a data folder, or TMPDIR, may lie deep."""
    folder = None
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if len(place) <= MOST_OF_A_SOCKET and os.access(place, os.W_OK | os.X_OK):
            folder = tempfile.mkdtemp(prefix="headway-", dir=place)
            break
    if folder is None:
        raise StackError("No folder with a short path can be written for the store's socket: set TMPDIR to one.")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _url(settings: Settings) -> str:
    """Where this machine reaches the API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host).strip("[]")
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
