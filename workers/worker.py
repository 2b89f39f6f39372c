"""This worker: who it is, what it can do, what it does now."""

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from services import __version__
from services.contract.fleet import Consumer, Worker
from services.contract.preflight import DeviceReport
from services.contract.spec import JobSpec
from services.contract.weights import RandomWeights, WeightsFile
from services.settings import Settings
from services.store.broker import Consumption
from services.store.leases import WorkerProfile
from workers.duty import Duty

TORCHVISION_WEIGHTS = "resnet18-f37072fd"  # the file that ResNet18_Weights.DEFAULT names, with its hash


class LocalWorker:
    def __init__(
        self, preflight: Sequence[DeviceReport], settings: Settings, duty: Duty, consumption: Consumption
    ) -> None:
        """The last report of `preflight` is that of the device that passed, and is used."""
        self.duty, self.consumption = duty, consumption
        self.job: str | None = None
        self.helps: str | None = None  # a job of another worker
        self.looked_at: int | None = None  # for a job in line
        self.heard_since: float | None = None  # by time.monotonic(): Redis takes our reports; None while it does not
        self._preflight, self._settings = list(preflight), settings
        self._id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._started_at = int(time.time())

    @property
    def profile(self) -> WorkerProfile:
        passed = self._preflight[-1]
        return WorkerProfile(self._id, passed.device, self._weights, passed.precisions, passed.auto or "fp32")

    def report(self) -> Worker:
        return Worker(
            id=self._id,
            device=self.profile.device,
            kind=self.profile.kind,
            status="draining" if not self.duty.takes_jobs else "busy" if self.job else "idle",
            job=self.job,
            helps=self.helps,
            started_at=self._started_at,
            seen_at=int(time.time()),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            preflight=self._preflight,
            consumer=Consumer(silent_seconds=round(self.consumption.silence, 1), refusal=self.consumption.refusal),
            looked_at=self.looked_at,
        )

    def _weights(self, spec: JobSpec) -> str:
        """Those that this worker would use for a job, named by their hash."""
        source = self._settings.weights_source(spec.weights)
        if isinstance(source, RandomWeights):
            return str(source)
        return _file_sha256(source.path) if isinstance(source, WeightsFile) else TORCHVISION_WEIGHTS


@cache
def _file_sha256(path: Path) -> str:
    try:
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return f"unreadable:{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
