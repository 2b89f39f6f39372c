"""The life of an attempt: claim, start the trainer, renew the lease, relay what it says, settle.

The supervisor owns the job while its title (fence and nonce) holds. Everything it writes carries the title; whatever
answers that it no longer holds ends the attempt at once, without another word.
"""

import asyncio
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import OutOfMemoryError, RedisError

from services.contract import errors
from services.contract.evaluation import Evaluation
from services.contract.events import (
    CheckpointLine,
    DoneLine,
    EvaluationLine,
    FailedLine,
    Line,
    MetricsLine,
    PhaseLine,
    Progress,
    Said,
    WarningLine,
)
from services.contract.ids import model_id
from services.contract.spec import ArchivePaths, TrainerSpec
from services.contract.transitions import Status
from services.settings import Settings
from services.store.events import Point
from services.store.files import remove_old
from services.store.leases import LEASE, Claim, Fenced
from services.store.store import Store
from workers.child import EXIT_STOPPED, Child

log = logging.getLogger(__name__)

RENEW_EVERY = 1.0  # seconds
LEASE_MARGIN = 5.0  # the trainer is dead this long before anyone else may claim its job
CANCEL_GRACE = 0.7  # seconds from SIGTERM to SIGKILL: a cancelled job's trainer has nothing to save
STOP_GRACE = 5.0  # the same for pause and drain: it writes a checkpoint first


@dataclass
class Outcome:
    """What is known of an attempt's end besides the trainer's exit status."""

    done: DoneLine | None = None
    failed: errors.JobFailure | None = None
    evaluation: Evaluation | None = None
    stop_asked: bool = False
    fenced: bool = False


async def supervise(store: Store, claim: Claim, settings: Settings, drain_asked: Callable[[], bool]) -> None:
    """Carry one attempt from its claim to its end. Raises Fenced, RedisError."""
    log.info("%s: attempt %d", claim.job, claim.attempt)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{claim.job}-", dir=_work_folder(settings)))
    except OSError as error:
        await store.leases.fail(claim, _disk_failure(error))
        return
    try:
        await Supervisor(store, claim, settings, folder, drain_asked).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Supervisor:
    def __init__(
        self, store: Store, claim: Claim, settings: Settings, folder: Path, drain_asked: Callable[[], bool]
    ) -> None:
        self._store, self._claim, self._settings, self._folder = store, claim, settings, folder
        self._drain_asked = drain_asked
        self._outcome = Outcome()
        self._progress = Progress()
        self._batch = 0
        self._began = time.monotonic()
        self._is_over = False

    async def run(self) -> None:
        """Raises Fenced or RedisError where the attempt's end can no longer be said: the reaper will say it."""
        try:
            spec = await self._trainer_spec()
            self._child = await Child.start()
        except (errors.JobFailure, OSError) as error:
            failure = error if isinstance(error, errors.JobFailure) else _disk_failure(error)
            await self._store.leases.fail(self._claim, failure)
            return
        renewal = asyncio.create_task(self._renew())
        try:
            await self._child.give(spec)
            await self._relay()
            await self._say_end(await self._child.wait())
        finally:
            self._is_over = True  # redis-py may take the cancellation for an error of the connection
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    # --- the spec ------------------------------------------------------------------------------------------------

    async def _trainer_spec(self) -> TrainerSpec:
        """The job's spec with everything brought to local paths. Raises DataUnreadable."""
        spec = self._claim.spec
        return TrainerSpec(
            job=self._claim.job,
            tenant=self._claim.tenant,
            training=await self._local(spec.training_file),
            validation=await self._local(spec.validation_file) if spec.validation_file else None,
            split=spec.split,
            labels=spec.labels,
            num_labels=spec.num_labels,
            hyperparameters=spec.hyperparameters,
            feature_scaling=spec.feature_scaling,
            precision=spec.precision,
            early_stopping=spec.early_stopping,
            checkpoints=spec.checkpoints,
            export=spec.export,
            seed=spec.seed,
            device=self._claim.owner.device,
            weights=weights_source(spec.weights, self._settings),
            cache=str(self._settings.features_dir.absolute()),
            out=str(self._folder),
            resume=await self._resume_point(),
            next_checkpoint=self._claim.checkpoint + 1,
        )

    async def _local(self, file: str) -> ArchivePaths:
        record = await self._store.files.owned_by(self._claim.tenant, file)
        if record is None:
            raise errors.DataUnreadable(f"The file {file} was deleted.")
        try:
            return self._store.files.local(record)
        except FileNotFoundError as error:
            raise errors.DataUnreadable(f"The training data cannot be read: {error}.") from None

    async def _resume_point(self) -> str | None:
        """The newest whole checkpoint as a local file."""
        newest = await self._store.checkpoints.newest(self._claim.job)
        if newest is None:
            return None
        path = self._folder / "resume.safetensors"
        await asyncio.to_thread(path.write_bytes, newest[1])
        return str(path)

    # --- while it runs -------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Keep the lease and the time limit. A timer of its own kills the trainer before the lease can end."""
        loop = asyncio.get_running_loop()
        guard = loop.call_at(self._claim.sent + LEASE - LEASE_MARGIN, self._child.kill)
        away = False
        try:
            while not self._is_over and not self._is_out_of_time():
                sent = loop.time()
                try:
                    wish = await self._store.leases.renew(self._claim)
                except RedisError as error:
                    if not away:
                        log.warning("Redis is away (%s); %s still has its lease", type(error).__name__, self._claim.job)
                    away = True
                else:
                    away = False
                    guard.cancel()
                    guard = loop.call_at(sent + LEASE - LEASE_MARGIN, self._child.kill)
                    self._carry_out(wish.status, drain=wish.drain)
                os.utime(self._folder)  # it is in use
                await asyncio.sleep(RENEW_EVERY)
        except Fenced:
            self._outcome.fenced = True
        finally:  # also where it is cancelled: the trainer has ended by then
            guard.cancel()
            self._child.kill()

    def _is_out_of_time(self) -> bool:
        """Whether all attempts together have used up `limits.max_seconds`."""
        limit = self._claim.spec.limits.max_seconds
        if limit is None or self._claim.device_seconds + time.monotonic() - self._began <= limit:
            return False
        self._outcome.failed = errors.TimeLimit(f"The job ran longer than limits.max_seconds = {limit:g}.")
        return True

    def _carry_out(self, status: Status, *, drain: bool) -> None:
        if status is Status.CANCELLING:
            self._outcome.stop_asked = True
            self._child.stop(grace=CANCEL_GRACE)
        elif (status is Status.PAUSING or drain or self._drain_asked()) and not self._outcome.stop_asked:
            self._outcome.stop_asked = True
            self._child.stop(grace=STOP_GRACE)

    async def _relay(self) -> None:
        """Each line of the trainer to where it belongs, until it ends or the title is lost."""
        try:
            async for line in self._child.lines():
                await self._take(line)
        except Fenced:
            self._outcome.fenced = True
            self._child.kill()
        except RedisError as error:  # for longer than a lease: the reaper will hand the job on
            log.warning("%s: nothing could be written (%s)", self._claim.job, type(error).__name__)
            self._child.kill()

    async def _take(self, line: Line) -> None:
        match line:
            case PhaseLine():
                self._progress = line.progress
                await self._emit([_phase_event(line)])
            case MetricsLine():
                self._progress = line.progress
                await self._emit(*self._unheard(line))
            case WarningLine():
                await self._emit([_said("warn", line.message, line.data)])
            case CheckpointLine():
                await self._keep(line)
            case EvaluationLine():
                self._outcome.evaluation = line.evaluation
                await self._emit(latest={"evaluation": line.evaluation.model_dump_json()})
            case DoneLine():
                self._outcome.done = line
            case FailedLine():
                self._outcome.failed = _failure(line)

    def _unheard(self, line: MetricsLine) -> tuple[list[Said], list[Point]]:
        """The line without the steps that an earlier attempt reported: nobody sees a step twice."""
        heard = self._claim.last_step
        new = [(step, loss) for step, loss in zip(line.step, line.train_loss, strict=True) if step > heard]
        points = [Point("train_loss", step, loss) for step, loss in new]
        data: dict[str, object] = line.progress.model_dump(exclude_none=True)
        if new:
            series = {"step": [step for step, _ in new], "train_loss": [loss for _, loss in new]}
            data |= {"train_loss": new[-1][1], "series": series}
        if (
            line.val_loss is not None
            and line.val_accuracy is not None
            and line.progress.step > self._claim.last_val_step
        ):
            data |= {"val_loss": line.val_loss, "val_accuracy": line.val_accuracy}
            points.append(Point("val_loss", line.progress.step, line.val_loss))
            points.append(Point("val_accuracy", line.progress.step, line.val_accuracy))
        said = [_said("info", _metrics_message(line), data, type="metrics")] if points else []
        return said, points

    async def _emit(
        self, said: Sequence[Said] = (), points: Sequence[Point] = (), latest: Mapping[str, str] | None = None
    ) -> None:
        """One batch. `latest` are fields of the record; the progress always is."""
        self._batch += 1
        fields = {"progress": self._progress.model_dump_json(), **(latest or {})}
        status = await self._store.events.emit(self._claim, self._batch, said, points, fields)
        self._carry_out(status, drain=False)

    async def _keep(self, line: CheckpointLine) -> None:
        """Store a checkpoint; a full Redis or disk costs the checkpoint, not the training."""
        path = self._folder / line.path
        content = await asyncio.to_thread(path.read_bytes)
        path.unlink()
        try:
            await self._store.checkpoints.put(self._claim, line, content, int(time.time()))
        except (OutOfMemoryError, OSError) as error:
            full = "Redis" if isinstance(error, OutOfMemoryError) else "The file store"
            message = f"{full} is full: checkpoint {line.number} (step {line.metrics.step}) was not kept."
            await self._emit([_said("warn", message, {})])
            return
        metrics = line.metrics.model_dump_json()
        await self._emit(latest={"metrics": metrics, "best": metrics} if line.best else {"metrics": metrics})

    # --- the end -------------------------------------------------------------------------------------------------

    async def _say_end(self, status: int) -> None:
        outcome = self._outcome
        if outcome.fenced:
            log.warning("%s: attempt %d lost its title", self._claim.job, self._claim.attempt)
        elif status == 0 and outcome.done is not None:
            await self._finish(outcome.done)
        elif outcome.failed is not None:
            await self._store.leases.fail(self._claim, outcome.failed)
        elif outcome.stop_asked or status == EXIT_STOPPED:
            await self._hand_on("released", "The worker drains; the job waits for another.", counts=False)
        elif status < 0:
            code = "out_of_memory" if self._child.was_oom_killed(status) else "worker_lost"
            await self._hand_on(code, f"The trainer was killed by signal {-status}.", counts=True)
        else:
            message = f"The trainer ended with {status} and said nothing; the worker's log has the details."
            await self._store.leases.fail(self._claim, errors.InternalError(message))

    async def _finish(self, done: DoneLine) -> None:
        """The exports go to the file store under this fence; only `finish` names them, and no others stay."""
        files, models = self._store.files.bytes, f"{self._claim.tenant}/models/{self._claim.job}"
        place = f"{models}/{self._claim.fence}"
        try:
            for name in done.exports.values():
                await asyncio.to_thread(files.put_file, f"{place}/{name}", self._folder / name)
            await self._say_finished(done, place)
        except OSError as error:
            await self._store.leases.fail(self._claim, _disk_failure(error))
        except Fenced:
            await asyncio.to_thread(files.delete_folder, place)
            raise
        else:
            await asyncio.to_thread(files.keep_only, models, str(self._claim.fence))

    async def _say_finished(self, done: DoneLine, place: str) -> None:
        model = model_id(self._claim.job, self._claim.spec.suffix)
        exports = {format: f"{place}/{name}" for format, name in done.exports.items()}
        evaluation = self._outcome.evaluation
        self._progress = self._progress.model_copy(update={"phase": "done", "percent": 100.0, "eta_seconds": 0.0})
        await self._emit()
        message = f"Model {model} is ready" + (f": accuracy {evaluation.accuracy:.3f}." if evaluation else ".")
        data = {"model": model} | ({"accuracy": evaluation.accuracy, "split": evaluation.split} if evaluation else {})
        result = {"model": model, "exports": exports, "manifest": done.manifest}
        await self._store.leases.finish(self._claim, json.dumps(result), message, json.dumps(data))

    async def _hand_on(self, code: str, message: str, *, counts: bool) -> None:
        """Release the job; if it waits again, one message says that there is work."""
        status = await self._store.leases.release(self._claim, code, message, counts=counts)
        if status is Status.QUEUED:
            await self._store.hints.publish(self._claim.owner.kind)


# --- words ---------------------------------------------------------------------------------------------------------


def weights_source(weights: str, settings: Settings) -> str:
    """Where a job's `weights` come from on this worker: "random:N", "torchvision" or a path."""
    if weights.startswith("random:"):
        return weights
    return (
        "torchvision" if settings.weights == "default" or settings.weights.startswith("random:") else settings.weights
    )


def _disk_failure(error: OSError) -> errors.JobFailure:
    return errors.DiskFull(
        f"The worker could not write ({error.strerror}): free space in its data folder and file store."
    )


def _work_folder(settings: Settings) -> Path:
    folder = settings.data_dir.absolute() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    remove_old(folder.iterdir(), days=1)  # of workers that were killed; a running attempt's is touched each second
    return folder


def _said(level: str, message: str, data: dict[str, object], *, type: str = "message") -> Said:
    return Said.model_validate(
        {"created_at": int(time.time()), "level": level, "type": type, "message": message, "data": data}
    )


def _phase_event(line: PhaseLine) -> Said:
    data = line.progress.model_dump(exclude_none=True)
    if line.message:
        return _said("info", line.message, data)
    return _said("info", _phase_message(line.progress), data, type="metrics")


def _phase_message(progress: Progress) -> str:
    if progress.phase == "features":
        return f"Features: {progress.images} of {progress.total_images} images"
    return progress.phase.capitalize()


def _metrics_message(line: MetricsLine) -> str:
    words = [f"Step {line.progress.step}/{line.progress.total_steps}"]
    if line.train_loss:
        words.append(f"training loss={line.train_loss[-1]:.4f}")
    if line.val_loss is not None and line.val_accuracy is not None:
        words.append(f"validation loss={line.val_loss:.4f}, accuracy={line.val_accuracy:.3f}")
    return ": ".join([words[0], ", ".join(words[1:])])


def _failure(line: FailedLine) -> errors.JobFailure:
    known = {kind.code: kind for kind in errors.JobFailure.__subclasses__()}
    return known.get(line.code, errors.InternalError)(line.message)
