"""How many workers a device kind should have now: a pure function of what is seen, what was seen, and the time.

A worker trains one job at a time. So as many are needed as jobs wait or are worked on. What is missing is started at
once; what was not needed for a whole cool-down is drained, and only while it is idle. Busy workers are drained where
the maximum was lowered, the least advanced first.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.contract.fleet import Decision, Pool
from services.contract.timing import Timing
from services.settings import Settings


class WorkerState(StrEnum):
    STARTING = "starting"  # it has not reported yet
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    FAILING = "failing"  # it runs and does not work: silent, or started again and again


READY = (
    WorkerState.IDLE,
    WorkerState.STARTING,
    WorkerState.BUSY,
)  # these take a job now, or soon; the first are the easiest to spare


@dataclass(frozen=True)
class SeenWorker:
    """A worker as the autoscaler sees it. `ours`: it may be drained, and counts against the maximum."""

    id: str
    kind: str
    state: WorkerState
    ours: bool = True
    since: float = 0.0  # when it was first seen, or began to fail, s
    percent: float = 0.0  # of its job
    helps: bool = False  # with another's pass


@dataclass(frozen=True)
class SharedPass:
    """What is left of a job's pass over its images, in seconds of one worker; `helpers` at most may shorten it."""

    kind: str
    seconds: float
    helpers: int


@dataclass(frozen=True)
class Rules:
    """Seconds; those that are no setting are `Timing`'s."""

    cooldown: float = 60.0
    last_cooldown: float = 180.0  # of a kind's last worker: who starts from none waits longest, and one costs little
    first_backoff: float = Timing().autoscaler_first_backoff
    last_backoff: float = Timing().autoscaler_last_backoff
    silence: float = Timing().worker_silence

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        timing = settings.timing
        return cls(
            cooldown=settings.autoscale_cooldown,
            last_cooldown=settings.autoscale_last_cooldown,
            first_backoff=timing.autoscaler_first_backoff,
            last_backoff=timing.autoscaler_last_backoff,
            silence=timing.worker_silence,
        )


@dataclass(frozen=True)
class Past:
    """What earlier looks at a kind left."""

    began: float
    needed: tuple[tuple[float, int], ...] = ()  # (when, how many), within the cool-downs
    failures: int = 0  # in a row: starts that brought no worker
    failed_at: float = 0.0

    def after(self, needed: int, rules: Rules, now: float) -> "Past":
        """Knowing also this look. What a later need as high outlives is forgotten."""
        horizon = now - max(rules.cooldown, rules.last_cooldown)
        kept = tuple((at, n) for at, n in self.needed if at > horizon and n > needed)
        return replace(self, needed=(*kept, (now, needed)))

    def with_failures(self, count: int, now: float) -> "Past":
        return replace(self, failures=self.failures + count, failed_at=now) if count else self

    def retry_at(self, rules: Rules) -> float:
        """When a worker may be started again."""
        doubled = rules.first_backoff * 2.0 ** min(self.failures - 1, 20)
        return self.failed_at + min(doubled, rules.last_backoff) if self.failures else 0.0


@dataclass(frozen=True)
class Look:
    """All that a decision rests on. `workers` are those of the pool's kind, `queued` the jobs that wait for it."""

    queued: int
    workers: Sequence[SeenWorker]
    pool: Pool
    past: Past
    rules: Rules
    now: float
    helping: int = 0  # workers that would shorten passes

    def count(self, *states: WorkerState) -> int:
        return sum(worker.state in states for worker in self.workers)

    @property
    def ours(self) -> list[SeenWorker]:
        return [worker for worker in self.workers if worker.ours]

    @property
    def ready(self) -> list[SeenWorker]:
        return [worker for worker in self.ours if worker.state in READY]

    @property
    def needed(self) -> int:
        """Workers that would leave no job waiting and no pass long, whoever started them."""
        return self.queued + self.count(WorkerState.BUSY) + self.helping

    @property
    def wanted(self) -> int:
        """How many of ours are needed now, within the bounds."""
        return self._within(self.needed)

    @property
    def target(self) -> int:
        """The same at its highest within the cool-down; and one while there was any need within the last one's."""
        recent = [n for at, n in self.past.needed if at > self.now - self.rules.cooldown]
        lately = [min(n, 1) for at, n in self.past.needed if at > self.now - self.rules.last_cooldown]
        return self._within(max([self.needed, *recent, *lately]))

    def _within(self, needed: int) -> int:
        others = self.count(*READY) - len(self.ready)
        return max(self.pool.min, min(self.pool.max, needed - others))


@dataclass(frozen=True)
class Act:
    reason: str
    start: int = 0
    drain: Sequence[str] = ()


def shares(
    waiting: Mapping[str, int], workers: Sequence[SeenWorker], pools: Sequence[Pool], closed: Collection[str] = ()
) -> dict[str, int]:
    """Jobs that wait, by pool. Those that take any device go where somebody is free, then to the first pool with
    room, but not to one where starts just failed (`closed`); what is beyond every maximum waits at the first."""
    share = {pool.kind: waiting.get(pool.kind, 0) for pool in pools}
    elsewhere = {worker.kind for worker in workers} - share.keys()
    anyone = max(0, waiting.get("any", 0) - sum(_free(kind, workers) for kind in elsewhere))
    free = {pool.kind: _free(pool.kind, workers) for pool in pools}
    most = {pool.kind: 0 if pool.kind in closed else pool.max - _held(pool.kind, workers) for pool in pools}
    for room in (free, most):
        for kind in share:
            taken = min(anyone, max(0, room[kind] - share[kind]))
            share[kind] += taken
            anyone -= taken
    share[pools[0].kind] += anyone
    return share


def helpers_wanted(passes: Iterable[SharedPass], kind: str, boot: float | None) -> int:
    """As many as each pass can have while its rest still takes twice as long as a worker's boot: more would come when
    it is over. None before a boot was seen."""
    if not boot:
        return 0
    shorter = (min(int(rest.seconds / (2 * boot)) - 1, rest.helpers) for rest in passes if rest.kind == kind)
    return sum(max(0, count) for count in shorter)


def decide(look: Look) -> Decision:
    act = _replace(look) or _grow(look) or _shrink(look) or _keep(look)
    return Decision(
        kind=look.pool.kind,
        at=look.now,
        queued=look.queued,
        idle=look.count(WorkerState.IDLE),
        busy=look.count(WorkerState.BUSY),
        starting=look.count(WorkerState.STARTING),
        draining=look.count(WorkerState.DRAINING),
        failing=look.count(WorkerState.FAILING),
        failed_starts=look.past.failures,
        helping=look.helping,
        needed=look.needed,
        target=look.target,
        start=act.start,
        drain=list(act.drain),
        reason=act.reason,
    )


def _replace(look: Look) -> Act | None:
    failing = [worker for worker in look.ours if worker.state is WorkerState.FAILING]
    silent = [worker for worker in failing if look.now - worker.since >= look.rules.silence]
    if not silent:
        return None
    return Act(f"{_workers(len(silent))} silent for {look.rules.silence:g} s: stop {len(silent)}", drain=_ids(silent))


def _grow(look: Look) -> Act | None:
    missing = look.wanted - len(look.ready)
    if missing <= 0:
        return None
    wait = look.past.retry_at(look.rules) - look.now
    if wait > 0:
        return Act(f"{_starts(look.past.failures)} came to nothing; the next try in {wait:.0f} s")
    room = look.pool.max - len(look.ours)  # who drains or fails still holds its memory and its device
    if room <= 0:
        held = f"{look.count(WorkerState.DRAINING)} draining, {look.count(WorkerState.FAILING)} failing"
        return Act(f"{_workers(missing)} missing; their places are still held ({held})")
    start = min(missing, room, 1 if look.past.failures else room)  # after a failure, one is the test
    why = f"{_jobs(look.queued)} waiting" if look.queued else f"the minimum is {look.pool.min}"
    if look.helping:
        why = f"{_jobs(look.queued)} waiting, and passes that {_workers(look.helping)} would shorten"
    return Act(f"{why}, {_workers(len(look.ready))}: start {start}", start=start)


def _shrink(look: Look) -> Act | None:
    above = len(look.ready) - look.pool.max
    if above > 0:
        order = sorted(look.ready, key=lambda worker: (READY.index(worker.state), worker.percent, -worker.since))
        return Act(f"{above} above the maximum of {look.pool.max}: drain {above}", drain=_ids(order[:above]))
    surplus = len(look.ready) - look.target
    idle = [worker for worker in look.ready if worker.state is WorkerState.IDLE]
    wait = look.rules.cooldown if look.target else look.rules.last_cooldown
    if surplus <= 0 or not idle or look.now - look.past.began < wait:
        return None
    newest = sorted(idle, key=lambda worker: -worker.since)[:surplus]
    return Act(f"{surplus} not needed for {wait:g} s: drain {len(newest)}", drain=_ids(newest))


def _keep(look: Look) -> Act:
    surplus = len(look.ready) - look.wanted
    if surplus > 0:
        return Act(f"{surplus} not needed now; kept for a cool-down")
    if look.queued and len(look.ready) == look.pool.max and look.count(WorkerState.BUSY):
        return Act(f"{_jobs(look.queued)} waiting; at the maximum of {look.pool.max}")
    return Act(f"{_jobs(look.queued)} waiting, {_workers(len(look.ready))}: enough")


def _free(kind: str, workers: Sequence[SeenWorker]) -> int:
    """Who of a kind can take a job now, or soon."""
    return sum(worker.kind == kind and worker.state in (WorkerState.IDLE, WorkerState.STARTING) for worker in workers)


def _held(kind: str, workers: Sequence[SeenWorker]) -> int:
    """Places of a kind that take no job soon."""
    held = (WorkerState.BUSY, WorkerState.DRAINING, WorkerState.FAILING)
    return sum(worker.kind == kind and worker.ours and worker.state in held for worker in workers)


def _ids(workers: Sequence[SeenWorker]) -> list[str]:
    return [worker.id for worker in workers]


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _starts(count: int) -> str:
    return "the last start" if count == 1 else f"the last {count} starts"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
