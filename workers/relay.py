"""What a trainer says, brought to where it belongs: events, the series, the record, checkpoints."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

from redis.exceptions import OutOfMemoryError, RedisError

from services import tracing
from services.contract.errors import FilesAway, InternalError, WorkerLost, job_failure
from services.contract.events import NewEvent
from services.contract.job import JobWarning
from services.contract.lines import (
    AliveLine,
    CheckpointLine,
    DoneLine,
    EvaluationLine,
    FailedLine,
    FeaturesLine,
    Line,
    MetricsLine,
    PhaseLine,
    SpanLine,
    Validation,
    WarningLine,
)
from services.contract.progress import Progress, Trial
from services.contract.shards import PlanLine, ReadyLine, SegmentLine, TakenLine
from services.contract.timing import Timing
from services.contract.transitions import Status
from services.store.connection import is_away
from services.store.events import Batch, Point
from services.store.leases import Claim, Fenced, TenantWaits
from services.store.record import Latest
from services.store.store import Store
from services.store.totals import Count
from workers import messages
from workers.child import Child, TrainerSilent
from workers.outcome import Outcome, os_failure
from workers.sharing import Sharing

log = logging.getLogger(__name__)

MOST_WARNINGS = 50  # that a job shows of an attempt
MOST_VALIDATIONS = 100_000  # of a job that its series keeps


class Relay:
    """Of one attempt; what cannot be relayed is noted in `outcome`. `heed` is told the job's status each time."""

    def __init__(
        self, store: Store, claim: Claim, outcome: Outcome, folder: Path, timing: Timing, heed: Callable[[Status], None]
    ) -> None:
        self.claim, self.outcome, self.folder = claim, outcome, folder
        self.progress = Progress()
        self._store, self._heed, self._timing = store, heed, timing
        self._batch, self._turn = 0, asyncio.Lock()
        self._warnings: list[JobWarning] = []

    async def run(self, child: Child) -> None:
        """Each line of the trainer, until it ends or the title is lost; then the trainer is killed."""
        sharing = Sharing(self._store, self.claim, child, self.folder, self._timing, self.emit)
        try:
            await self._each_line(child, sharing)
        finally:
            await sharing.end()

    async def _each_line(self, child: Child, sharing: Sharing) -> None:
        try:
            await sharing.clear()
            async for line in child.lines(self._timing):
                await self._take(line, sharing)
            return
        except Fenced:
            self.outcome.fenced = True
        except TrainerSilent as error:
            self.outcome.lost = WorkerLost(str(error))
        except OSError as error:  # the attempt's folder is gone or cannot be read
            self.outcome.failed = os_failure(error)
        except ValueError:  # asyncio's, of a line beyond every limit
            log.exception("%s: a line of the trainer could not be read", self.claim.job)
            self.outcome.failed = InternalError("The trainer said more in one line than can be read.")
        except RedisError as error:  # for longer than a lease; or it was killed and lost its last second
            log.warning("%s: nothing could be written (%s)", self.claim.job, error)
            away = is_away(error)
            self.outcome.cut_off = "Redis was away for too long" if away else "Redis did not take what the attempt said"
        child.kill()

    async def emit(
        self,
        events: Sequence[NewEvent] = (),
        points: Sequence[Point] = (),
        latest: Latest | None = None,
        *,
        last_step: int = 0,
        counts: Mapping[Count, int] | None = None,
    ) -> None:
        """One batch; the progress is always part of it. Raises Fenced."""
        async with self._turn:  # batches come in their order
            self._batch += 1
            latest = (latest or Latest()).model_copy(update={"progress": self.progress})
            batch = Batch(self._batch, events, points, latest, last_step, counts or {})
            self._heed(await self._store.events.emit(self.claim, batch))

    async def _take(self, line: Line, sharing: Sharing) -> None:
        match line:
            case PhaseLine():
                self.progress = line.progress
                await self.emit([messages.of_phase(line)])
            case MetricsLine():
                self.progress = line.progress
                await self._emit_metrics(line)
            case PlanLine():
                await sharing.begin(line)
            case TakenLine():
                await sharing.take(line.shard)
            case FeaturesLine():
                await sharing.end()
                await self.emit(latest=Latest(features=line.usage), counts=messages.feature_counts(line.usage))
            case WarningLine():
                await self._warn(line)
            case CheckpointLine():
                await self._keep(line)
            case EvaluationLine():
                self.outcome.evaluation = line.evaluation
                await self.emit(latest=Latest(evaluation=line.evaluation.in_short(), trials=self._trials(line.trials)))
            case AliveLine() | ReadyLine() | SegmentLine():
                pass
            case SpanLine():
                tracing.told(line.name, line.began, line.ended)
            case DoneLine():
                self.outcome.done = line
            case FailedLine():
                self.outcome.failed = job_failure(line.code, line.message)

    async def _emit_metrics(self, line: MetricsLine) -> None:
        """What no earlier attempt reported: nobody sees a step twice."""
        steps = [new for pack in line.steps if (new := pack.after(self.claim.last_step)).at]
        validated = [one for one in line.validations if one.at > self.claim.last_val_step]
        if not steps and not validated:
            return
        last_val_step = validated[-1].at if validated else None
        last_step = max((pack.at[-1] for pack in steps), default=0)
        every = self.claim.spec.points_every
        kept = [few for pack in steps if (few := pack.each(every)).at]
        judged = self._thinned(validated)
        told = [messages.of_metrics(line, kept, judged, sweep=self._is_sweep)] if kept or judged else []
        latest = Latest(trials=self._trials(line.trials), last_val_step=last_val_step)
        await self.emit(told, list(messages.points(kept, judged)), latest, last_step=last_step)

    def _thinned(self, validated: list[Validation]) -> list[Validation]:
        """Validations are few, but for very many epochs of very few steps; the last one is always told."""
        epochs = self.claim.spec.hyperparameters.n_epochs
        every = ceil(epochs * len(self.claim.spec.trials) / MOST_VALIDATIONS)
        return [one for one in validated if one.epoch % every == 0 or one.epoch == epochs]

    async def _warn(self, line: WarningLine) -> None:
        if line.code is None:
            await self.emit([messages.event("warn", line.message, line.data)])
            return
        self._warnings.append(JobWarning(code=line.code, message=line.message))
        said = [messages.event("warn", line.message, {"code": line.code} | line.data)]
        await self.emit(said, latest=Latest(warnings=self._warnings[-MOST_WARNINGS:]))

    async def _keep(self, line: CheckpointLine) -> None:
        """Store a checkpoint; a full Redis or disk costs the checkpoint, not the training."""
        path = self.folder / line.path
        content = await asyncio.to_thread(path.read_bytes)
        path.unlink()
        events: list[NewEvent] = []
        try:
            await self._store.checkpoints.put(self.claim, line, content, int(time.time()))
        except (OutOfMemoryError, OSError, TenantWaits) as error:
            message = f"{_full(error)}: checkpoint {line.number} (step {line.metrics.step}) was not kept."
            events = [messages.event("warn", message)]
        await self.emit(events, latest=Latest(metrics=line.metrics, best=line.metrics if line.best else None))

    @property
    def _is_sweep(self) -> bool:
        return self.claim.spec.sweep is not None

    def _trials(self, trials: list[Trial]) -> list[Trial] | None:
        """A job that is no sweep has none in its record."""
        return trials if trials and self._is_sweep else None


def _full(error: Exception) -> str:
    if isinstance(error, TenantWaits):
        return "Your jobs' checkpoints have as many bytes as they may (delete ended jobs)"
    if isinstance(error, FilesAway):
        return str(error.strerror)
    return "Redis is full" if isinstance(error, OutOfMemoryError) else "The file store is full"
