"""`python -m workers.trainer < spec.json`: one attempt at a job, from images to an exported model."""

import errno
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped on request, after a checkpoint


class StopAsked:
    """SIGTERM and SIGINT are a wish, looked at between batches."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True


stop_asked = StopAsked()  # before torch's seconds of import, so that a stop in them is not lost

import torch  # noqa: E402

from services.contract.errors import DataUnreadable, DiskFull, InternalError, JobFailure, OutOfMemory  # noqa: E402
from services.contract.events import (  # noqa: E402
    DoneLine,
    EvaluationLine,
    FailedLine,
    PhaseLine,
    Progress,
    WarningLine,
)
from services.contract.spec import TrainerSpec  # noqa: E402
from workers.trainer import backbone, dataset, features, manifest  # noqa: E402
from workers.trainer.checkpoint import State  # noqa: E402
from workers.trainer.dataset import Dataset, Example  # noqa: E402
from workers.trainer.device import open_device  # noqa: E402
from workers.trainer.evaluate import Table, evaluate  # noqa: E402
from workers.trainer.export import export  # noqa: E402
from workers.trainer.report import Report  # noqa: E402
from workers.trainer.train import Stopped, Training  # noqa: E402

UNREADABLE_SHARE = 0.05  # of a job's images; more fail it
NAMED = 20  # unreadable images that the warning names
TELL_EVERY = 0.5  # seconds between two words about the features' progress
HEAD_THREADS = 1  # fixed, so that every attempt sums in the same order; more do not help a 512 × C product


def main() -> int:
    report = Report.on_stdout()
    spec = TrainerSpec.model_validate_json(sys.stdin.readline())
    if "--tethered" in sys.argv[1:]:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        run(spec, report)
    except Stopped:
        return EXIT_STOPPED
    except Exception as error:
        failure = _as_failure(error)
        report.say(FailedLine(code=failure.code, message=str(failure), retryable=failure.retryable))
        if isinstance(failure, InternalError):
            sys.excepthook(type(error), error, error.__traceback__)  # for the worker's log, never for a client
        return 1
    return 0


def run(spec: TrainerSpec, report: Report) -> None:
    """Images → features (cached) → head → evaluation → export."""
    report.say(PhaseLine(progress=Progress(phase="starting")))
    device = open_device(spec.device)
    data = dataset.load(spec)
    model = backbone.load(spec.weights)
    weights = backbone.weights_sha256(model)

    cache = features.FeatureCache(features.cache_folder(Path(spec.cache), spec.tenant, weights, spec.precision))
    _extract(spec, data, model.to(device), device, cache, report)
    train, val, test = (_table(examples, cache) for examples in (data.train, data.val, data.test))

    _warn_of_lost_labels(spec, train, report)
    torch.set_num_threads(HEAD_THREADS)
    training = Training(spec, train, val.only_readable() if len(val) else None, report, stop_asked)
    state = training.run()
    _evaluate(spec, state, val, test, report, training.progress())

    report.say(PhaseLine(progress=training.progress().model_copy(update={"phase": "exporting", "percent": 99.5})))
    files = export(state.scaling.folded(state.head), model, spec.labels, spec.export, Path(spec.out))
    receipt = manifest.receipt(spec, data, weights, device, HEAD_THREADS)
    report.say(DoneLine(exports=files, best=state.place.best, manifest=receipt))


# --- features ------------------------------------------------------------------------------------------------------


def _extract(
    spec: TrainerSpec,
    data: Dataset,
    body: torch.nn.Module,
    device: torch.device,
    cache: features.FeatureCache,
    report: Report,
) -> None:
    """Every image's features into the cache, with the progress told and unreadable images named."""
    examples = data.all
    lacking = {example.key for example in examples if example.key not in cache}
    known = {e.key: "known from an earlier job" for e in examples if e.key in cache and not cache.is_readable(e.key)}
    losses = Unreadable(examples, known)
    began, told, done = time.monotonic(), 0.0, 0

    def each(batch: features.Batch) -> None:
        nonlocal told, done
        done += len(batch.examples)
        losses.add(batch.unreadable)
        if time.monotonic() - told >= TELL_EVERY or done == len(lacking):
            told = time.monotonic()
            report.say(PhaseLine(progress=_features_progress(done, len(lacking), told - began)))
        if stop_asked():
            raise Stopped

    if lacking:
        report.say(PhaseLine(progress=_features_progress(0, len(lacking), 0.0)))
    features.extract(examples, body, device, cache, each=each)
    seconds = time.monotonic() - began
    cached = sum(example.key not in lacking for example in examples)
    message = f"Features of {len(examples)} images: {cached} cached, {done} computed in {seconds:.1f} s."
    report.say(PhaseLine(progress=_features_progress(done, len(lacking), seconds), message=message))
    if losses.reasons:
        report.say(losses.warning())


class Unreadable:
    """The images of a job that cannot be decoded: by content, so that copies count as often as they lie there."""

    def __init__(self, examples: list[Example], reasons: dict[bytes, str]) -> None:
        self._examples, self.reasons = examples, reasons
        self._copies = Counter(example.key for example in examples)
        self._refuse_if_too_many()

    def add(self, reasons: dict[bytes, str]) -> None:
        """Raises DataUnreadable as soon as they are certainly too many."""
        self.reasons |= reasons
        self._refuse_if_too_many()

    def warning(self) -> WarningLine:
        named = {example.image.path: self.reasons[example.key] for example in self._affected()[:NAMED]}
        message = f"{self._count()} of {len(self._examples)} images cannot be read and are left out: {self._names()}."
        return WarningLine(message=message, data={"unreadable": named, "count": self._count()})

    def _refuse_if_too_many(self) -> None:
        if self._count() > UNREADABLE_SHARE * len(self._examples):
            raise DataUnreadable(
                f"More than {UNREADABLE_SHARE:.0%} of {len(self._examples)} images cannot be read, "
                f"among them {self._names()}."
            )

    def _count(self) -> int:
        return sum(self._copies[key] for key in self.reasons)

    def _affected(self) -> list[Example]:
        return [example for example in self._examples if example.key in self.reasons]

    def _names(self) -> str:
        names = [example.image.path for example in self._affected()]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more


def _features_progress(done: int, total: int, seconds: float) -> Progress:
    rate = done / seconds if done and seconds > 0 else None
    return Progress(
        phase="features",
        percent=round(80 * done / total, 1) if total else 80.0,
        images=done,
        total_images=total,
        images_per_second=rate and round(rate, 1),
        eta_seconds=rate and round((total - done) / rate, 1),
    )


def _table(examples: list[Example], cache: features.FeatureCache) -> Table:
    keys = [example.key for example in examples]
    return Table(
        cache.gather(keys),
        torch.tensor([example.label for example in examples], dtype=torch.int64),
        torch.tensor([cache.is_readable(key) for key in keys], dtype=torch.bool),
    )


def _warn_of_lost_labels(spec: TrainerSpec, train: Table, report: Report) -> None:
    """Labels of which no training image can be read. Raises DataUnreadable where fewer than two remain."""
    seen = set(train.only_readable().labels.tolist())
    lost = [label for index, label in enumerate(spec.labels) if index not in seen]
    if not lost:
        return
    message = f"No training image of {', '.join(map(repr, lost[:NAMED]))} can be read"
    if len(spec.labels) - len(lost) < 2:
        raise DataUnreadable(f"{message}: fewer than two labels remain.")
    report.say(WarningLine(message=f"{message}: never learned.", data={"labels": lost}))


# --- the end -------------------------------------------------------------------------------------------------------


def _evaluate(spec: TrainerSpec, state: State, val: Table, test: Table, report: Report, progress: Progress) -> None:
    """On the test set where there is one, else on the validation set, else not at all."""
    held_out, split = (test, "test") if len(test) else (val, "val")
    table = held_out.only_readable()
    if not len(table):
        return
    report.say(PhaseLine(progress=progress.model_copy(update={"phase": "evaluating", "percent": 99.0})))
    scaled = Table(state.scaling(table.features), table.labels, table.readable)
    labels = [*spec.labels, *(f"unused {i}" for i in range(len(spec.labels), spec.num_labels))]
    report.say(EvaluationLine(evaluation=evaluate(state.head, scaled, labels, "test" if split == "test" else "val")))


def _as_failure(error: Exception) -> JobFailure:
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory("The device ran out of memory. Use another device, or one that nothing else uses.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("The worker's disk is full: free space under its data folder.")
    return InternalError("The trainer met an error that it does not know; the worker's log has the details.")


def _end_with_supervisor() -> None:
    """The supervisor holds the other end of stdin: once it is gone, nobody can take what this process makes."""
    while sys.stdin.read(4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
