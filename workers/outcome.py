"""What is known of an attempt's end besides its trainer's exit status."""

import errno
import logging
from dataclasses import dataclass

from services.contract.errors import InternalError, JobFailure, OutOfMemory, WorkerLost, storage_failure
from services.contract.evaluation import Evaluation
from services.contract.lines import DoneLine

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    done: DoneLine | None = None
    failed: JobFailure | None = None
    lost: WorkerLost | OutOfMemory | None = None  # why the trainer had to be killed; another attempt may fare better
    evaluation: Evaluation | None = None
    stop_asked: bool = False
    cancelled: bool = False
    fenced: bool = False
    cut_off: str | None = None  # why nothing more that the trainer says can be kept


def os_failure(error: OSError) -> JobFailure:
    """What a job ends with where the operating system refused its supervisor."""
    failure = storage_failure(error, folder_is_gone=error.errno == errno.ENOENT)
    if failure is None:
        log.error("the operating system refused", exc_info=error)
        return InternalError(f"The worker met an error of its operating system ({error.strerror}).")
    return failure
