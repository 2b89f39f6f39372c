"""The trainer as a process: its spec on stdin, its lines on stdout, its end as an exit status."""

import os
import resource
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from services.contract.errors import InternalError, JobFailure, OutOfMemory, storage_failure
from services.contract.lines import EXIT_STOPPED, FailedLine
from services.contract.spec import Prepared, TrainerSpec
from services.contract.timing import UNSCALED
from services.environment import of_module
from workers.trainer import recipe
from workers.trainer.helpers import SupervisorsHelpers
from workers.trainer.report import Report
from workers.trainer.stop import Stopped
from workers.vision.backbone import Backbone
from workers.vision.pipeline import BATCH
from workers.vision.shards import Helpers


def carry_out(stop_asked: Callable[[], bool], *, tethered: bool, ahead: str | None, memory: int) -> int:
    """Wait for a spec, carry it out, say how it ended; the exit status.

    `ahead` is what to have ready before the spec comes, `memory` the bytes that this may take.
    """
    report = Report.on_stdout()
    spare = _prepared(ahead, memory, report) if ahead else None
    line = sys.stdin.readline()
    if not line:
        return 0  # a spare that nobody needed
    spec = TrainerSpec.model_validate_json(line)
    helpers = SupervisorsHelpers(report, Path(spec.out)) if tethered else None
    if helpers is not None:
        threading.Thread(target=_listen, args=(helpers,), daemon=True).start()
    return attempt(spec, report, stop_asked, spare, helpers if spec.limits.max_workers != 1 else None)


def attempt(
    spec: TrainerSpec,
    report: Report,
    stop_asked: Callable[[], bool],
    spare: Backbone | None = None,
    helpers: Helpers | None = None,
) -> int:
    """Follow the recipe to its end, whatever that is; the exit status. Closes the report."""
    try:
        recipe.run(spec, report, stop_asked, spare, helpers)
    except Stopped:
        return EXIT_STOPPED
    except Exception as error:
        failure = as_failure(error, Path(spec.out))
        report.say(FailedLine(code=failure.code, message=str(failure)))
        if isinstance(failure, InternalError):
            sys.excepthook(type(error), error, error.__traceback__)  # for the worker's log, never for a client
        return 1
    finally:
        report.close()
    return 0


def _prepared(ahead: str, memory: int, report: Report) -> Backbone | None:
    """All that a job needs and that does not depend on it; what is wrong with it is that job's to say. Kernels are left
    to the job where one comes at once: it may know all its features.

    Where it takes more memory than it may, the process starts anew and waits without torch. Nothing is lost with it, as
    stdin was not read.
    """
    try:
        backbone = Backbone(Prepared.model_validate_json(ahead))
        if not select.select([sys.stdin], [], [], UNSCALED.rest)[0]:
            backbone.warm_up(BATCH[backbone.device.type])
    except Exception:  # whatever a device, a download or a pickle may raise
        return None
    if memory_used() > memory:
        report.give_stdout_back()
        os.execv(sys.executable, of_module("workers.trainer", "--tethered", "--lean"))
    return backbone


def memory_used() -> int:
    """Bytes, at the most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def as_failure(error: Exception, out: Path) -> JobFailure:
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory(
            "The trainer ran out of memory, or its device did. Use one that nothing else uses, or a smaller job."
        )
    if isinstance(error, OSError) and (failure := storage_failure(error, folder_is_gone=not out.exists())):
        return failure
    return InternalError("The trainer met an error that it does not know; the worker's log has the details.")


def _listen(helpers: SupervisorsHelpers) -> None:
    """The supervisor holds the other end of stdin: once it is gone, nobody can take what this process makes."""
    for line in sys.stdin:
        helpers.hear(line)
    os._exit(1)
