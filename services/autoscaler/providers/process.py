"""Workers as processes of this machine, tethered: they drain when the autoscaler is gone."""

import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Thread

from services.autoscaler.providers import Condition, ProviderError, WorkerInstance
from services.environment import of_module
from services.process.managed import Managed
from services.settings import Settings


class Processes:
    name = "process"

    def __init__(self, settings: Settings, *, module: str = "workers.main") -> None:
        """`module` is what a worker runs."""
        self._settings, self._module = settings, module
        self._logs = settings.data_dir.absolute() / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._workers: dict[str, tuple[str, Managed]] = {}

    def instances(self) -> list[WorkerInstance]:
        found = [self._look(id) for id in self._workers]
        for instance in found:
            if instance.condition is not Condition.RUNNING:
                self._workers.pop(instance.id)[1].kill_session()
        return found

    def start(self, kind: str) -> str:
        name = next(name for number in count(1) if (name := f"worker-{kind}-{number}") not in self._workers)
        environment = self._settings.model_copy(update={"device": kind}).as_environment()
        worker = Managed(
            name,
            of_module(self._module),
            environment,
            self._logs / f"{name}.log",
            self._settings.timing,
            stop_within=self._settings.timing.worker_stop,
        )
        try:
            worker.start()
        except OSError as error:
            raise ProviderError(f"This machine started no worker process ({error.strerror}).") from None
        self._workers[name] = (kind, worker)
        return name

    def stop(self, id: str) -> None:
        Thread(target=self._workers[id][1].stop, daemon=True).start()

    def close(self) -> None:
        """All at once: each may need time for a checkpoint."""
        with ThreadPoolExecutor(max_workers=len(self._workers) or 1) as stopping:
            list(stopping.map(lambda entry: entry[1].stop(), self._workers.values()))

    def _look(self, id: str) -> WorkerInstance:
        kind, worker = self._workers[id]
        status = worker.process.poll()
        condition = Condition.RUNNING if status is None else Condition.DIED if status else Condition.ENDED
        return WorkerInstance(id, kind, condition, socket.gethostname(), worker.process.pid)
