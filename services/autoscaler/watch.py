"""From what a provider and the workers themselves say to what the autoscaler sees: who works, who starts, who fails.

Nothing here is lost with it but time: an autoscaler that has just come learns it anew.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.autoscaler.decide import SeenWorker, WorkerState
from services.autoscaler.providers import Condition, WorkerInstance
from services.contract.fleet import Worker


@dataclass
class WorkerMemory:
    """What is remembered of a worker of ours. Times are Unix, s."""

    since: float  # when it was first seen
    worker: str | None = None  # the id that it reports under
    heard: float | None = None  # when it last reported
    asked: float | None = None  # when it was asked to end
    failed: bool = False  # it did not come to work, which was counted
    started: bool = False  # by us, at `since`

    @property
    def quiet_since(self) -> float:
        return max(self.since, self.heard or 0.0, self.asked or 0.0)


@dataclass
class Sight:
    """What one look brought. By kind: starts that came to nothing, and kinds of which a worker came to work."""

    workers: list[SeenWorker] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    worked: set[str] = field(default_factory=set)


class Watch:
    def __init__(self, *, silence: float, ask_again: float) -> None:
        """Seconds: of silence, until a worker fails; within which one that was asked to drain says that it does."""
        self._silence, self._ask_again = silence, ask_again
        self._known: dict[str, WorkerMemory] = {}
        self.boots: dict[str, float] = {}  # by kind: seconds that the last start took until its worker reported
        self._left: set[str] = set()  # workers that are no more; their last report may not have expired yet

    def look(self, instances: Sequence[WorkerInstance], reports: Sequence[Worker], now: float) -> Sight:
        sight = Sight()
        self._left &= {report.id for report in reports}
        known, self._known = self._known, {}
        for instance in instances:
            memory = known.get(instance.id)
            if instance.condition in (Condition.ENDED, Condition.DIED):
                self._note_end(instance, memory, sight)  # one that is not known ended before we came
            else:
                self._known[instance.id] = memory or WorkerMemory(now)
                sight.workers.append(self._seen(instance, reports, sight, now))
        sight.workers += self._others(instances, reports)
        return sight

    def note_start(self, id: str, now: float) -> None:
        self._known[id] = WorkerMemory(now, started=True)

    def note_ask(self, id: str, now: float) -> None:
        self._known[id].asked = now

    def worker_of(self, id: str) -> str | None:
        """The id under which an instance reports itself."""
        return self._known[id].worker

    def _note_end(self, instance: WorkerInstance, memory: WorkerMemory | None, sight: Sight) -> None:
        if memory is not None and memory.worker is not None:
            self._left.add(memory.worker)
        elif memory is not None and memory.asked is None and not memory.failed:
            sight.failed[instance.kind] += 1

    def _seen(self, instance: WorkerInstance, reports: Sequence[Worker], sight: Sight, now: float) -> SeenWorker:
        memory = self._known[instance.id]
        own = [report for report in reports if _is_of(report, instance) and report.id not in self._left]
        if own:
            report = max(own, key=lambda report: report.started_at)  # one that was killed may have left another
            self._note_report(instance, memory, report, sight, now)
            state = WorkerState.DRAINING if memory.asked else WorkerState(report.status)
            return SeenWorker(instance.id, instance.kind, state, since=memory.since, helps=report.helps is not None)
        if instance.condition is Condition.FAILING and memory.heard is None and not memory.failed:
            memory.failed = True
            sight.failed[instance.kind] += 1
        return SeenWorker(instance.id, instance.kind, self._silent(instance, memory, now), since=memory.quiet_since)

    def _note_report(
        self, instance: WorkerInstance, memory: WorkerMemory, report: Worker, sight: Sight, now: float
    ) -> None:
        if memory.worker is None and memory.started:
            self.boots[instance.kind] = now - memory.since
        if memory.worker != report.id:
            sight.worked.add(instance.kind)
            memory.asked, memory.failed = None, False  # it was another one that was asked, or that failed
        elif memory.asked and report.status != "draining" and now - memory.asked > self._ask_again:
            memory.asked = None  # the wish was lost
        memory.worker, memory.heard = report.id, now

    def _silent(self, instance: WorkerInstance, memory: WorkerMemory, now: float) -> WorkerState:
        if now - memory.quiet_since >= self._silence:
            return WorkerState.FAILING
        if memory.asked:
            return WorkerState.DRAINING
        if memory.heard is None and not memory.failed and instance.condition is Condition.RUNNING:
            return WorkerState.STARTING
        return WorkerState.FAILING

    def _others(self, instances: Sequence[WorkerInstance], reports: Sequence[Worker]) -> Iterator[SeenWorker]:
        """Workers that report themselves and are not the provider's."""
        for report in reports:
            if report.id not in self._left and not any(_is_of(report, instance) for instance in instances):
                state, helps = WorkerState(report.status), report.helps is not None
                yield SeenWorker(report.id, report.kind, state, ours=False, helps=helps)


def _is_of(report: Worker, instance: WorkerInstance) -> bool:
    return report.host == instance.host and instance.pid in (0, report.pid)
