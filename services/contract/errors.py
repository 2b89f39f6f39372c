"""Every error that can cross a wire, in two trees.

HeadwayError                        what a request can end with
├── InvalidRequest            422   a field is wrong: `param` names it
│   ├── InvalidArchive        422   an upload is no archive we can read
│   └── ImageUnreadable       422   a stored image cannot be decoded
├── BadRequest                400   the request cannot be parsed
├── Unauthorized              401
├── Forbidden                 403
├── NotFound                  404   also for what belongs to another tenant
├── MethodNotAllowed      405
├── RequestTimeout        408   the body did not come in time
├── ActionRefused         409   the job's status does not allow it
├── FileNeeded            409   a job that has not ended needs it
├── InFlight              409   the same submission is under way: try again
├── IdempotencyGone       409   the job that this submission made was deleted
├── TooLarge                  413
├── RateLimited           429   the tenant does this too often: wait
├── QuotaExceeded         429   the tenant has as much as it may
├── WebhookUnanswered         502   a webhook that was tested did not answer
├── StoreUnavailable          503   Redis or the store of objects is away: try again
├── PredictorUnavailable      503   nobody looks at images now: try again
└── StoreFull                 507   Redis or the disk is full

JobFailure                          what a job can end with (`status_reason.code`)
├── WeightsUnavailable  DataUnreadable  OutOfMemory  DeviceUnavailable
└── LossDiverged  TimeLimit  DiskFull  WorkerLost  FilesUnavailable  InternalError
"""

import errno
from typing import Any, ClassVar

# What the operating system says where a disk is full, read-only or not ours: the operator's to mend, no bug.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


STORE_AWAY = "The store of objects does not answer. Try again in a moment."


class FilesAway(OSError):
    """The store of objects does not answer, though it was asked again and again, or not to us."""


class HeadwayError(Exception):
    """A request's end: HTTP status, code, OpenAI's error type, whether a client should try again."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    title: ClassVar[str] = "Internal error"
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.message, self.param, self.extra = message, param, extra


class BadRequest(HeadwayError):
    status, code, type, title = 400, "bad_request", "invalid_request_error", "Bad request"


class InvalidRequest(HeadwayError):
    status, code, type, title = 422, "invalid_request", "invalid_request_error", "Invalid request"


class InvalidArchive(InvalidRequest):
    code, title = "invalid_archive", "Invalid archive"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="file")


class ImageUnreadable(InvalidRequest):
    """A stored image that cannot be decoded."""

    code = "image_unreadable"


class Unauthorized(HeadwayError):
    status, code, type, title = 401, "invalid_api_key", "authentication_error", "Unauthorized"


class Forbidden(HeadwayError):
    status, code, type, title = 403, "forbidden", "permission_error", "Forbidden"


class NotFound(HeadwayError):
    status, code, type, title = 404, "not_found", "invalid_request_error", "Not found"


class MethodNotAllowed(HeadwayError):
    status, code, type, title = 405, "method_not_allowed", "invalid_request_error", "Method not allowed"


class RequestTimeout(HeadwayError):
    status, code, type, title, retry = 408, "request_timeout", "invalid_request_error", "Request timeout", True


class ActionRefused(HeadwayError):
    status, code, type, title = 409, "action_refused", "invalid_request_error", "Action refused"


class FileNeeded(HeadwayError):
    status, code, type, title = 409, "file_needed", "invalid_request_error", "File needed"


class InFlight(HeadwayError):
    status, code, type, title, retry = 409, "in_flight", "invalid_request_error", "In flight", True


class IdempotencyGone(HeadwayError):
    status, code, type, title = 409, "idempotency_gone", "invalid_request_error", "Idempotency gone"


class TooLarge(HeadwayError):
    status, code, type, title = 413, "too_large", "invalid_request_error", "Too large"


class RateLimited(HeadwayError):
    status, code, type, title, retry = 429, "rate_limited", "rate_limit_error", "Rate limited", True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceeded(HeadwayError):
    status, code, type, title = 429, "quota_exceeded", "rate_limit_error", "Quota exceeded"


class WebhookUnanswered(HeadwayError):
    status, code, type, title = 502, "webhook_unanswered", "invalid_request_error", "Webhook unanswered"


class StoreUnavailable(HeadwayError):
    status, code, type, title, retry = 503, "store_unavailable", "server_error", "Store unavailable", True


class PredictorUnavailable(HeadwayError):
    """No predictor runs, it ended, or it lacks the weights that the model needs."""

    status, code, type, title, retry = 503, "predictor_unavailable", "server_error", "Predictor unavailable", True


class StoreFull(HeadwayError):
    status, code, type, title = 507, "store_full", "server_error", "Store full"


class JobFailure(Exception):
    """A job's end. `retryable` says whether the same request may succeed later; we never retry these by ourselves."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False


class WeightsUnavailable(JobFailure):
    code, retryable = "weights_unavailable", True


class DataUnreadable(JobFailure):
    code = "data_unreadable"


class OutOfMemory(JobFailure):
    code, retryable = "out_of_memory", True


class DeviceUnavailable(JobFailure):
    code, retryable = "device_unavailable", True


class LossDiverged(JobFailure):
    code = "loss_diverged"


class TimeLimit(JobFailure):
    code = "time_limit"


class DiskFull(JobFailure):
    code, retryable = "disk_full", True


class WorkerLost(JobFailure):
    code, retryable = "worker_lost", True


class FilesUnavailable(JobFailure):
    """The store of objects was away: the one failure after which the job waits for another attempt."""

    code, retryable = "files_unavailable", True


class InternalError(JobFailure):
    code = "internal_error"


def storage_failure(error: OSError, *, folder_is_gone: bool) -> FilesUnavailable | DiskFull | None:
    """What becomes of a job where its store of objects is away, or nothing could be written; None for any other trouble
    of the operating system."""
    if isinstance(error, FilesAway):
        return FilesUnavailable(f"{error.strerror}.")
    if error.errno not in UNWRITABLE and not folder_is_gone:
        return None
    return DiskFull(
        f"The worker could not write ({error.strerror}): see to the disks of its data folder and of the file store."
    )


def job_failure(code: str, message: str) -> JobFailure:
    """The failure that has this code."""
    known = {kind.code: kind for kind in JobFailure.__subclasses__()}
    return known.get(code, InternalError)(message)
