"""The autoscaler against KEDA's formula and a fixed number of workers, on the same traffic, in simulated seconds.

`python -m tests.autoscaler.simulation 5` prints the table of docs/explanation/autoscaling.md, over five days each. A
worker takes START seconds to start; it takes the oldest job that waits; one that is removed in the middle of a job has
interrupted it, and the job goes on later where it was (its checkpoint).
"""

import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from pathlib import Path
from typing import Protocol

import yaml
from rich.console import Console
from rich.table import Table

from services.autoscaler.decide import Look, Past, Rules, SeenWorker, WorkerState, decide
from services.contract.fleet import Pool
from tests.autoscaler.traffic import DAYS, Arrival

START = 12.0  # seconds until a started worker takes jobs; tests.benchmarks.scaling measured 10, on two cores
MOST = 8  # workers
MANIFEST = Path(__file__).parents[2] / "infra" / "k8s" / "worker-cpu.yaml"


@dataclass
class Work:
    at: float  # when it came, or came back
    seconds: float  # that are left of it


@dataclass
class Worker:
    id: str
    ready_at: float
    job: Work | None = None
    leaves: bool = False  # once it has no job

    def state(self, now: float) -> WorkerState:
        if self.leaves:
            return WorkerState.DRAINING
        return WorkerState.STARTING if now < self.ready_at else WorkerState.BUSY if self.job else WorkerState.IDLE


@dataclass
class House:
    """What a policy sees and changes."""

    queue: deque[Work] = field(default_factory=deque)
    workers: list[Worker] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    worker_seconds: float = 0.0
    interrupted: int = 0
    started: int = 0
    most: int = 0
    names: "count[int]" = field(default_factory=count)

    @property
    def running(self) -> int:
        return sum(worker.job is not None for worker in self.workers)

    def start(self, now: float) -> None:
        self.started += 1
        self.workers.append(Worker(f"w{next(self.names)}", now + START))

    def remove(self, worker: Worker, now: float) -> None:
        """Now, whatever it does."""
        self.workers.remove(worker)
        if worker.job is not None:
            self.interrupted += 1
            self.queue.appendleft(Work(now, worker.job.seconds))

    def second(self, now: float) -> None:
        """One second passes."""
        for worker in list(self.workers):
            if worker.job is not None:
                worker.job.seconds -= 1
                worker.job = worker.job if worker.job.seconds > 0 else None
            if worker.job is None and worker.leaves:
                self.workers.remove(worker)
            elif worker.job is None and now >= worker.ready_at and self.queue:
                worker.job = self.queue.popleft()
                self.waits.append(now - worker.job.at)
        self.worker_seconds += len(self.workers)
        self.most = max(self.most, len(self.workers))


class Policy(Protocol):
    def look(self, house: House, now: float) -> None: ...


class Headway:
    """`decide`, as the autoscaler's loop calls it each second."""

    def __init__(self, pool: Pool | None = None, rules: Rules | None = None) -> None:
        self._pool, self._rules, self._past = pool or Pool(kind="cpu", min=0, max=MOST), rules or Rules(), Past(0.0)

    def look(self, house: House, now: float) -> None:
        workers = [SeenWorker(w.id, "cpu", w.state(now), since=w.ready_at) for w in house.workers]
        look = Look(len(house.queue), workers, self._pool, self._past, self._rules, now)
        self._past = self._past.after(look.needed, self._rules, now)
        decision = decide(look)
        for worker in [worker for worker in house.workers if worker.id in decision.drain]:
            if worker.state(now) is WorkerState.IDLE:
                worker.leaves = True  # once it has no job
            else:
                house.remove(worker, now)
        for _ in range(decision.start):
            house.start(now)


class Keda:
    """A ScaledObject on a Deployment, one job a worker: `desired = ceil(metric / 1)`.

    With the defaults of KEDA (poll 30 s, cool-down 300 s) and of the HPA that it makes (sync 15 s, tolerance 0.1, up by
    100 % or 4 a sync, down to the highest wish within 300 s). The Deployment removes its newest pods.
    `running`: the metric counts running jobs too.
    """

    def __init__(self, *, running: bool) -> None:
        self._running = running
        self._wishes: deque[tuple[float, int]] = deque()
        self._active_at = -1e9

    def look(self, house: House, now: float) -> None:
        metric = len(house.queue) + (house.running if self._running else 0)
        replicas = len(house.workers)
        if now % 30 == 0:
            self._active_at = now if metric else self._active_at
            if metric and not replicas:
                house.start(now)
            elif not metric and replicas and now - self._active_at >= 300:
                self._scale(house, 0, now)
                return
        if now % 15 == 0 and replicas:
            self._scale(house, self._wish(metric, replicas, now), now)

    def _wish(self, metric: int, replicas: int, now: float) -> int:
        wish = replicas if abs(metric / replicas - 1) <= 0.1 else max(1, min(MOST, ceil(metric)))
        self._wishes.append((now, wish))
        while self._wishes[0][0] < now - 300:
            self._wishes.popleft()
        if wish > replicas:
            return min(wish, max(2 * replicas, replicas + 4))
        return min(replicas, max(wish for _, wish in self._wishes))

    def _scale(self, house: House, wish: int, now: float) -> None:
        for worker in house.workers[wish:]:
            house.remove(worker, now)
        for _ in range(wish - len(house.workers)):
            house.start(now)


class Kubernetes:
    """KEDA's ScaledJob, with the numbers of infra/k8s/worker-cpu.yaml: `new = min(most, demand) − those that there are`
    at each poll; a worker ends by itself once it was idle for so long."""

    def __init__(self) -> None:
        spec = yaml.safe_load(MANIFEST.read_text())["spec"]
        (container,) = spec["jobTargetRef"]["template"]["spec"]["containers"]
        given = {env["name"]: env.get("value") for env in container["env"]}
        self._poll, self._most = spec["pollingInterval"], spec["maxReplicaCount"]
        self._idle = float(given["HEADWAY_WORKER_IDLE"])
        self._busy_at: dict[str, float] = {}

    def look(self, house: House, now: float) -> None:
        for worker in list(house.workers):
            if worker.job is not None or now < worker.ready_at:
                self._busy_at[worker.id] = now
            elif now - self._busy_at[worker.id] > self._idle:
                house.remove(worker, now)
        if now % self._poll == 0:
            for _ in range(min(self._most, len(house.queue) + house.running) - len(house.workers)):
                house.start(now)


class Fixed:
    def __init__(self, workers: int) -> None:
        self._workers = workers

    def look(self, house: House, now: float) -> None:
        for _ in range(self._workers - len(house.workers)):
            house.start(now)


def simulated(traffic: Sequence[Arrival], policy: Policy) -> House:
    """Until all jobs have ended and, where the policy goes to zero, everything is gone; two days at most."""
    house, arrivals, busy_at = House(), deque(sorted(traffic, key=lambda job: job.at)), 0
    for now in range(2 * 86_400):
        if now and not house.workers and not house.queue and arrivals and now < int(arrivals[0].at):
            continue  # nobody is there, and nothing comes: no policy would do anything
        while arrivals and arrivals[0].at <= now:
            job = arrivals.popleft()
            house.queue.append(Work(job.at, job.seconds))
        policy.look(house, float(now))
        house.second(float(now))
        busy_at = now if house.workers else busy_at
        ended = not arrivals and not house.queue and not house.running
        if ended and (now > 86_400 or now > busy_at + 3600):  # an hour in which nobody came
            break
    return house


POLICIES: dict[str, Callable[[], Policy]] = {
    "Headway": Headway,
    "KEDA, infra/k8s": Kubernetes,
    "KEDA, queue length": lambda: Keda(running=False),
    "KEDA, queued and running": lambda: Keda(running=True),
    "2 workers, always": lambda: Fixed(2),
    f"{MOST} workers, always": lambda: Fixed(MOST),
}


def main(days: int) -> None:
    table = Table("traffic", "policy", "wait p50, s", "p95, s", "worker-hours", "starts", "interrupted, a day each")
    for kind, draw in DAYS.items():
        for name, policy in POLICIES.items():
            houses = [simulated(draw(seed), policy()) for seed in range(days)]
            waits = sorted(wait for house in houses for wait in house.waits)
            table.add_row(
                kind,
                name,
                f"{statistics.median(waits):.0f}",
                f"{waits[int(len(waits) * 0.95)]:.0f}",
                f"{sum(house.worker_seconds for house in houses) / 3600 / days:.1f}",
                f"{sum(house.started for house in houses) / days:.0f}",
                f"{sum(house.interrupted for house in houses) / days:.1f}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
