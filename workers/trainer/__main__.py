"""`python -m workers.trainer < spec.json`: one attempt at a job, from images to an exported model."""

import argparse
import os
import resource
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Literal

for name in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):  # before numpy comes: see head.Stack
    os.putenv(name, "1")

if "--lean" in sys.argv:  # until there is a job, or nobody to bring one; torch's memory is taken only then
    select.select([0], [], [])


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

from services.contract.errors import UNWRITABLE, DiskFull, InternalError, JobFailure, OutOfMemory  # noqa: E402
from services.contract.events import EXIT_STOPPED, DoneLine, EvaluationLine, FailedLine, PhaseLine, Trial  # noqa: E402
from services.contract.spec import Prepared, TrainerSpec  # noqa: E402
from workers.trainer import checkpoint, dataset, manifest  # noqa: E402
from workers.trainer.backbone import Backbone  # noqa: E402
from workers.trainer.checkpoint import Place, State  # noqa: E402
from workers.trainer.dataset import Dataset  # noqa: E402
from workers.trainer.evaluate import Table, evaluate  # noqa: E402
from workers.trainer.export import export  # noqa: E402
from workers.trainer.features import Features  # noqa: E402
from workers.trainer.pipeline import BATCH  # noqa: E402
from workers.trainer.report import Report  # noqa: E402
from workers.trainer.train import Stopped, Training, due  # noqa: E402

SCORES = 1_000  # labels of all trials together up to which each trial's own scores are told


def main() -> int:
    report = Report.on_stdout()
    options = _options()
    spare = _prepared(options.ahead, options.memory, report) if options.ahead else None
    line = sys.stdin.readline()
    if not line:
        return 0  # a spare that nobody needed
    spec = TrainerSpec.model_validate_json(line)
    if options.tethered:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        run(spec, report, spare)
    except Stopped:
        return EXIT_STOPPED
    except Exception as error:
        failure = _as_failure(error, Path(spec.out))
        report.say(FailedLine(code=failure.code, message=str(failure), retryable=failure.retryable))
        if isinstance(failure, InternalError):
            sys.excepthook(type(error), error, error.__traceback__)  # for the worker's log, never for a client
        return 1
    finally:
        report.close()
    return 0


def run(spec: TrainerSpec, report: Report, spare: Backbone | None = None) -> None:
    """Images → features (cached) → heads → evaluation → export."""
    report.say(PhaseLine(progress=report.progress(phase="starting")))
    backbone = spare if spare and spare.prepared == spec.prepared else Backbone(spec.prepared)
    data = dataset.load(spec)
    place = checkpoint.place(Path(spec.resume)) if spec.resume else Place()
    with Features(spec, data, _order(spec, data, place), backbone, report, stop_asked) as features:
        train, val, test = features.tables()
        training = Training(spec, train, val, report, stop_asked)
        state = training.run()
        held_out = (test if len(test) else val).whole().only_readable()

    if len(held_out):
        report.say(PhaseLine(progress=training.progress().model_copy(update={"phase": "evaluating", "percent": 99.0})))
        report.say(_evaluation(spec, state, training, held_out, "test" if len(test) else "val"))
    report.say(PhaseLine(progress=training.progress().model_copy(update={"phase": "exporting", "percent": 99.5})))
    winner = state.scaling.folded(state.head(training.leader()))
    files = export(winner, backbone.network, spec.labels, spec.export, Path(spec.out))
    trials = training.standings()
    receipt = manifest.receipt(spec, data, backbone, trials)
    report.say(DoneLine(exports=files, best=trials[training.leader()].best, manifest=receipt))


def _order(spec: TrainerSpec, data: Dataset, place: Place) -> list[int]:
    """Images of `data.all` by when they are needed: this epoch's, those held out, the next epoch's, the test's."""
    train, val = len(data.train), len(data.val)
    now, later = due(spec, train, place)
    return [*now, *range(train, train + val), *later, *range(train + val, len(data.all))]


def _evaluation(
    spec: TrainerSpec, state: State, training: Training, held_out: Table, split: Literal["val", "test"]
) -> EvaluationLine:
    """On the test set where there is one, else on the validation set: of every trial, in full of the best one."""
    table = Table(state.scaling(held_out.features), held_out.labels, held_out.readable)
    labels = [*spec.labels, *(f"unused {i}" for i in range(len(spec.labels), spec.num_labels))]
    trials = training.standings()
    for trial in trials:
        if trial.status != "diverged":
            trial.evaluation = evaluate(state.head(trial.trial).layer(), table, labels, split)
    best = trials[training.leader()].evaluation
    assert best is not None
    told = [_summarised(trial, scores=len(trials) * len(labels) <= SCORES) for trial in trials]
    return EvaluationLine(evaluation=best, trials=told)


def _summarised(trial: Trial, *, scores: bool) -> Trial:
    """Without the matrix, which only the best trial shows; and without the labels' scores where they are too many."""
    if trial.evaluation is None:
        return trial
    less: dict[str, Any] = {"confusion": []} | ({} if scores else {"labels": []})
    return trial.model_copy(update={"evaluation": trial.evaluation.model_copy(update=less)})


def _prepared(ahead: str, memory: int, report: Report) -> Backbone | None:
    """All that a job needs and that does not depend on it; what is wrong with it is that job's to say.

    Where it takes more memory than it may, the process starts anew and waits without torch. Nothing is lost with it, as
    stdin was not read.
    """
    try:
        backbone = Backbone(Prepared.model_validate_json(ahead))
        backbone.warm_up(BATCH[backbone.device.type])
    except Exception:  # whatever a device, a download or a pickle may raise
        return None
    if memory_used() > memory:
        report.give_stdout_back()
        os.execv(sys.executable, [sys.executable, "-m", "workers.trainer", "--tethered", "--lean"])
    return backbone


def _as_failure(error: Exception, out: Path) -> JobFailure:
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory(
            "The trainer ran out of memory, or its device did. Use one that nothing else uses, or a smaller job."
        )
    if isinstance(error, OSError) and (error.errno in UNWRITABLE or not out.exists()):
        return DiskFull(f"The worker could not write ({error.strerror}): see to the disk of its data folder.")
    return InternalError("The trainer met an error that it does not know; the worker's log has the details.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tethered", action="store_true", help="end when stdin does")
    parser.add_argument("--ahead", help="what to prepare before the spec comes, as JSON")
    parser.add_argument("--memory", type=int, default=sys.maxsize, help="bytes that it may take for that")
    parser.add_argument("--lean", action="store_true", help="take no memory before the spec comes")
    return parser.parse_args()


def memory_used() -> int:
    """Bytes, at the most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _end_with_supervisor() -> None:
    """The supervisor holds the other end of stdin: once it is gone, nobody can take what this process makes."""
    while sys.stdin.read(4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # all is written; torch would take a second to tear itself down
