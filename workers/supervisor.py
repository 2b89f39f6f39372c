"""The life of an attempt: claim, start the trainer, renew the lease, relay what it says, settle.

The supervisor owns the job while its title (fence and nonce) holds. Everything it writes carries the title; whatever
answers that it no longer holds ends the attempt at once, without another word.
"""

import asyncio
import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from redis.exceptions import OutOfMemoryError, RedisError

from services.contract import errors
from services.contract.evaluation import Evaluation
from services.contract.events import (
    EXIT_STOPPED,
    TRIALS,
    CheckpointLine,
    DoneLine,
    EvaluationLine,
    FailedLine,
    FeaturesLine,
    Line,
    MetricsLine,
    PhaseLine,
    Progress,
    Said,
    Trial,
    WarningLine,
)
from services.contract.ids import model_id
from services.contract.spec import ArchivePaths, TrainerSpec
from services.contract.transitions import Status
from services.settings import Settings
from services.store.connection import is_away
from services.store.events import Batch, Point
from services.store.files import remove_old
from services.store.leases import LEASE, Claim, Fenced
from services.store.store import Store
from workers import words
from workers.child import Child

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
    cancelled: bool = False
    fenced: bool = False
    unheard: str | None = None  # why nothing more that the trainer says can be kept


@dataclass(frozen=True)
class Host:
    """The worker, as far as an attempt needs it."""

    trainer: Callable[[], Popen[bytes]]  # a process to run in
    drain_asked: Callable[[], bool]  # it was told to hand its job on
    leave: Callable[[], None]  # a renewal told it first: after this job it takes no other


async def supervise(store: Store, claim: Claim, settings: Settings, host: Host) -> None:
    """Carry one attempt from its claim to its end. Raises Fenced, RedisError."""
    log.info("%s: attempt %d", claim.job, claim.attempt)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{claim.job}-", dir=_work_folder(settings)))
    except OSError as error:
        await store.leases.fail(claim, _disk_failure(error))
        return
    try:
        await Supervisor(store, claim, settings, folder, host).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Supervisor:
    def __init__(self, store: Store, claim: Claim, settings: Settings, folder: Path, host: Host) -> None:
        self._store, self._claim, self._settings, self._folder = store, claim, settings, folder
        self._host = host
        self._outcome = Outcome()
        self._progress = Progress()
        self._batch = 0
        self._began = time.monotonic()
        self._is_over = False

    async def run(self) -> None:
        """Raises Fenced or RedisError where the attempt's end can no longer be said: the reaper will say it."""
        try:
            spec = await self._trainer_spec()
            self._child = Child(self._host.trainer())
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
        """The job's spec with everything brought to local paths. Raises DataUnreadable, DeviceUnavailable."""
        spec, owner = self._claim.spec, self._claim.owner
        if self._claim.precision not in owner.precisions:
            raise errors.DeviceUnavailable(
                f"{self._claim.precision} did not pass its check on {owner.device}: ask for one of "
                f'{", ".join(owner.precisions)}, or for "auto".'
            )
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
            precision=self._claim.precision,
            sweep=spec.sweep,
            early_stopping=spec.early_stopping,
            checkpoints=spec.checkpoints,
            export=spec.export,
            seed=spec.seed,
            device=self._claim.owner.device,
            weights=weights_source(spec.weights, self._settings),
            cache=str(self._settings.features_dir.absolute()),
            cache_bytes=self._settings.cache_bytes,
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
        try:
            while not self._is_over and not self._is_out_of_time():
                sent = loop.time()
                try:
                    wish = await self._store.leases.renew(self._claim)
                except RedisError as error:  # the guard's time runs
                    if not is_away(error):
                        log.exception("%s: its lease was not renewed", self._claim.job)
                else:
                    guard.cancel()
                    guard = loop.call_at(sent + LEASE - LEASE_MARGIN, self._child.kill)
                    self._carry_out(wish.status, drain=wish.drain)
                with contextlib.suppress(OSError):
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
        if drain:
            self._host.leave()
        if status is Status.CANCELLING:
            self._outcome.stop_asked = self._outcome.cancelled = True
            self._child.stop(grace=CANCEL_GRACE)
        elif (status is Status.PAUSING or drain or self._host.drain_asked()) and not self._outcome.stop_asked:
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
        except OSError as error:  # the attempt's folder is gone or cannot be read
            self._outcome.failed = _disk_failure(error)
            self._child.kill()
        except ValueError:  # asyncio's, of a line beyond every limit
            log.exception("%s: a line of the trainer could not be read", self._claim.job)
            self._outcome.failed = errors.InternalError("The trainer said more in one line than can be read.")
            self._child.kill()
        except RedisError as error:  # for longer than a lease; or it was killed and lost its last second
            log.warning("%s: nothing could be written (%s)", self._claim.job, error)
            self._outcome.unheard = (
                "Redis was away for too long" if is_away(error) else "Redis did not take what the attempt said"
            )
            self._child.kill()

    async def _take(self, line: Line) -> None:
        match line:
            case PhaseLine():
                self._progress = line.progress
                await self._emit([words.phase(line)])
            case MetricsLine():
                self._progress = line.progress
                await self._emit_metrics(line)
            case FeaturesLine():
                await self._emit(latest={"features": line.model_dump_json()}, counts=words.feature_counts(line))
            case WarningLine():
                await self._emit([words.said("warn", line.message, line.data)])
            case CheckpointLine():
                await self._keep(line)
            case EvaluationLine():
                self._outcome.evaluation = line.evaluation
                await self._emit(latest={"evaluation": line.evaluation.model_dump_json(), **self._trials(line.trials)})
            case DoneLine():
                self._outcome.done = line
            case FailedLine():
                self._outcome.failed = words.failure(line)

    async def _emit_metrics(self, line: MetricsLine) -> None:
        """What no earlier attempt reported: nobody sees a step twice."""
        steps = [new for pack in line.steps if (new := pack.after(self._claim.last_step)).at]
        validated = [one for one in line.validations if one.at > self._claim.last_val_step]
        if not steps and not validated:
            return
        heard = {"last_val_step": str(validated[-1].at)} if validated else {}
        await self._emit(
            [words.metrics(line, steps, validated, sweep=self._is_sweep)],
            list(words.points(steps, validated)),
            self._trials(line.trials) | heard,
            last_step=max((pack.at[-1] for pack in steps), default=0),
        )

    @property
    def _is_sweep(self) -> bool:
        return self._claim.spec.sweep is not None

    def _trials(self, trials: Sequence[Trial]) -> dict[str, str]:
        """The record's field; a job that is no sweep has none."""
        return {"trials": TRIALS.dump_json(list(trials)).decode()} if trials and self._is_sweep else {}

    async def _emit(
        self,
        said: Sequence[Said] = (),
        points: Sequence[Point] = (),
        latest: Mapping[str, str] | None = None,
        *,
        last_step: int = 0,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """One batch. `latest` are fields of the record; the progress always is."""
        self._batch += 1
        fields = {"progress": self._progress.model_dump_json(), **(latest or {})}
        batch = Batch(self._batch, said, points, fields, last_step, counts or {})
        self._carry_out(await self._store.events.emit(self._claim, batch), drain=False)

    async def _keep(self, line: CheckpointLine) -> None:
        """Store a checkpoint; a full Redis or disk costs the checkpoint, not the training."""
        path = self._folder / line.path
        content = await asyncio.to_thread(path.read_bytes)
        path.unlink()
        metrics, said = line.metrics.model_dump_json(), []
        try:
            await self._store.checkpoints.put(self._claim, line, content, int(time.time()))
        except (OutOfMemoryError, OSError) as error:
            full = "Redis" if isinstance(error, OutOfMemoryError) else "The file store"
            message = f"{full} is full: checkpoint {line.number} (step {line.metrics.step}) was not kept."
            said = [words.said("warn", message, {})]
        await self._emit(said, latest={"metrics": metrics, "best": metrics} if line.best else {"metrics": metrics})

    # --- the end -------------------------------------------------------------------------------------------------

    async def _say_end(self, status: int) -> None:
        outcome = self._outcome
        if outcome.fenced:
            log.warning("%s: attempt %d lost its title", self._claim.job, self._claim.attempt)
        elif outcome.unheard:  # the trainer may even have ended well, for nobody
            await self._hand_on("released", f"{outcome.unheard}; the job waits for a worker.", counts=False)
        elif status == 0 and outcome.done is not None:
            await self._finish(outcome.done)
        elif outcome.failed is not None:
            await self._store.leases.fail(self._claim, outcome.failed)
        elif outcome.stop_asked or status == EXIT_STOPPED:
            if status == -signal.SIGKILL and not outcome.cancelled:
                message = (
                    f"The trainer did not stop within {STOP_GRACE:g} s and was killed; its last checkpoint stands."
                )
                await self._emit([words.said("warn", message, {})])
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
            await asyncio.to_thread(files.delete_folder, place)
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


def weights_source(weights: str, settings: Settings) -> str:
    """Where a job's `weights` come from on this worker: "random:N", "torchvision" or a path."""
    if weights.startswith("random:"):
        return weights
    return (
        "torchvision" if settings.weights == "default" or settings.weights.startswith("random:") else settings.weights
    )


def _disk_failure(error: OSError) -> errors.JobFailure:
    if error.errno not in (*errors.UNWRITABLE, errno.ENOENT):
        log.error("the operating system refused", exc_info=error)
        return errors.InternalError(f"The worker met an error of its operating system ({error.strerror}).")
    return errors.DiskFull(
        f"The worker could not write ({error.strerror}): see to the disks of its data folder and of the file store."
    )


def _work_folder(settings: Settings) -> Path:
    folder = settings.data_dir.absolute() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    # What killed workers left: the folder of a running attempt is touched each second.
    remove_old(folder.iterdir(), seconds=3600)
    return folder
