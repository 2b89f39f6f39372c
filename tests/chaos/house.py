"""A house whose parts can be killed: Valkey, API, reaper and workers, each with a line of its own to Valkey."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis
from httpx_sse import ServerSentEvent, SSEError, connect_sse

from services.process import embedded
from services.settings import Settings
from tests.chaos.line import Line
from tests.conftest import TIME_SCALE, free_port
from tests.gated import nursery
from tests.gated.gate import NAME as GATE
from tests.gated.gate import Gate
from tests.gated.nursery import NAME as NURSERY
from tests.jobs import JOBS, look_if_up
from tests.processes import alive, trainers_of
from tests.waiting import wait_until

WITHIN = 120.0  # seconds for a worker's preflight, on a busy machine


class Part:
    """A process that can be stopped, killed and started again; its log goes on over all of its lives."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def send(self, signum: signal.Signals) -> None:
        if self.is_alive:
            os.kill(self.pid, signum)

    def wait(self, seconds: float = 20.0) -> int:
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process.communicate()  # which closes the tether
        return status

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()


class Clock:
    """Of the store's process, where libfaketime is installed: it goes as the machine's, and jumps when it is told."""

    LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    @classmethod
    def can_be_had(cls) -> bool:
        return bool(glob.glob(cls.LIBRARIES))

    @property
    def environment(self) -> dict[str, str]:
        told = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1"}
        return told | {"LD_PRELOAD": glob.glob(self.LIBRARIES)[0], "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def jump(self, seconds: int) -> None:
        """So far from the machine's time, from now on."""
        self._file.write_text(f"{seconds:+d}\n")


class House:
    """All parts; `with House.built(…) as house`."""

    def __init__(self, folder: Path, cache: Path, log: Path, *, workers: int, time_scale: float, gated: bool) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"
        (folder / "valkey").mkdir()
        self.settings = Settings(
            data_dir=folder / "data",
            cache_dir=cache,
            weights="random:0",
            port=free_port(),
            spare_memory=0,  # its seconds of import would slow what is being killed
            time_scale=time_scale,
        )
        self.gate = Gate(folder / "gate")
        self.nursery_socket = folder / "nursery.sock"
        self.timing = self.settings.timing
        self.clock = Clock(folder / "clock") if Clock.can_be_had() else None
        environment = os.environ | (self.clock.environment if self.clock else {})
        self.store = Part("store", embedded.arguments(folder / "valkey", self.socket), environment, log / "store.log")
        names = ["api", "reaper", *(f"worker-{number}" for number in range(1, workers + 1))]
        self.lines = {name: Line(self.socket) for name in names}
        self.api = self._part("api", "services.api", log)
        self.reaper = self._part("reaper", "services.reaper", log)
        self.nursery = self._part("nursery", "tests.gated.nursery", log, str(self.nursery_socket)) if gated else None
        worker = "tests.gated.worker" if gated else "workers.main"
        self.workers = [self._part(name, worker, log) for name in names[2:]]
        self.redis: Any = redis.Redis.from_url(f"unix://{self.socket}", decode_responses=True)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.settings.port}", timeout=30)

    @classmethod
    @contextmanager
    def built(
        cls, cache: Path, log: Path, *, workers: int = 2, time_scale: float = TIME_SCALE, gated: bool = True
    ) -> Iterator["House"]:
        folder = Path(tempfile.mkdtemp(prefix="headway-chaos-"))  # a socket's path must be short
        house = cls(folder, cache, log, workers=workers, time_scale=time_scale, gated=gated)
        try:
            house.heal()
            yield house
        finally:
            house.tear_down()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def parts(self) -> list[Part]:
        forks = [self.nursery] if self.nursery else []
        return [self.store, *forks, self.api, self.reaper, *self.workers]

    def heal(self) -> None:
        """Everything runs and can reach everything, and no gate stands."""
        self.gate.open()
        self.gate.of_passes.open()
        for line in self.lines.values():
            line.mend()
        for part in self.parts:
            part.send(signal.SIGCONT)
            if not part.is_alive:
                part.start()
        wait_until(lambda: embedded.answers(self.socket))
        self.redis.config_set("maxmemory", 0)
        if self.clock:
            self.clock.jump(0)
        wait_until(self.is_ready)
        wait_until(lambda: {part.pid for part in self.workers} <= self._working(), seconds=WITHIN)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == 200
        return False

    def worker_of(self, job: str) -> Part:
        """The worker that runs `job`."""
        name = self.redis.hget(f"headway:job:{job}", "worker")
        return next(part for part in self.workers if f"-{part.pid}-" in name)

    def line_of(self, part: Part) -> Line:
        return self.lines[part.name]

    def trainers_of(self, worker: Part) -> list[int]:
        return nursery.trainers_of(self.nursery_socket, worker.pid) if self.nursery else trainers_of(worker.pid)

    def trainers(self) -> list[int]:
        return [pid for part in self.workers if part.is_alive for pid in self.trainers_of(part)]

    def look(self, job: str) -> dict[str, Any]:
        return look_if_up(self.client, job)

    def followed(self, job: str, over: threading.Event) -> Iterator[ServerSentEvent]:
        """A job's events as a browser hears them: cut off, it comes back with the last id that it heard."""
        url, last = f"http://127.0.0.1:{self.settings.port}{JOBS}/{job}/events", None
        while not over.is_set():
            with (
                contextlib.suppress(httpx.HTTPError, SSEError),
                httpx.Client(timeout=30) as client,
                connect_sse(client, "GET", url, headers={"Last-Event-ID": last} if last else {}) as source,
            ):
                if source.response.status_code in (204, 404):
                    return
                for event in source.iter_sse():
                    if event.event == "done":
                        return
                    if event.event == "message":
                        last = event.id
                        yield event
            time.sleep(0.5)

    def tear_down(self) -> None:
        """In order, and whatever state the parts are in; AssertionError if one does not end in time."""
        trainers = self.trainers()
        with contextlib.ExitStack() as last:
            last.callback(self.client.close)
            last.callback(self.redis.close)
            for part in self.parts:
                last.callback(self._stop, part)
            for line in self.lines.values():
                line.mend()
            for part in (*self.workers, self.reaper, self.api):
                part.send(signal.SIGCONT)
                part.send(signal.SIGTERM)
                if part.is_alive:
                    part.wait(30)
        for line in self.lines.values():
            line.close()
        wait_until(lambda: not any(alive(pid) for pid in trainers))

    # --- within --------------------------------------------------------------------------------------------------

    def _part(self, name: str, module: str, log: Path, *arguments: str) -> Part:
        line = self.lines.get(name)
        settings = self.settings.model_copy(update={"redis_url": line.url if line else ""})
        command = [sys.executable, "-m", module, *arguments, "--tethered"]
        own = {GATE: str(self.gate.path), NURSERY: str(self.nursery_socket), "OPENBLAS_NUM_THREADS": "1"}
        environment = settings.as_environment() | own
        return Part(name, command, environment, log / f"{name}.log")

    def _working(self) -> set[int]:
        with contextlib.suppress(httpx.TransportError):
            answer = self.client.get("/v1/workers")
            return {worker["pid"] for worker in answer.json()["data"]} if answer.status_code == 200 else set()
        return set()

    @staticmethod
    def _stop(part: Part) -> None:
        with contextlib.suppress(ProcessLookupError, AssertionError):
            os.killpg(part.pid, signal.SIGKILL)
            part.wait()
