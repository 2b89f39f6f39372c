"""What a trainer says on stdout, a line of JSON each, and what a client hears of it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from services.contract.evaluation import Evaluation

Phase = Literal["starting", "features", "training", "evaluating", "exporting", "done"]
Level = Literal["info", "warn", "error"]


class Progress(BaseModel):
    """How far a job has come. `images_per_second` is the backbone's speed in the features phase, the head's after."""

    phase: Phase = "starting"
    percent: float = 0.0
    epoch: int = 0
    n_epochs: int | None = None
    step: int = 0
    total_steps: int | None = None
    images: int = 0
    total_images: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None


class PhaseLine(BaseModel):
    """A phase began, or went on: `message` only where a person should read it in the event list."""

    type: Literal["phase"] = "phase"
    progress: Progress
    message: str | None = None


class MetricsLine(BaseModel):
    """Steps that were taken, packed: `step[i]` had `train_loss[i]`. `val_*` come after an epoch's last step."""

    type: Literal["metrics"] = "metrics"
    step: list[int]
    train_loss: list[float]
    epoch: int
    val_loss: float | None = None
    val_accuracy: float | None = None
    progress: Progress


class CheckpointMetrics(BaseModel):
    step: int
    epoch: int
    train_loss: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None


class CheckpointLine(BaseModel):
    """A checkpoint lies in the trainer's folder, whole and synced."""

    type: Literal["checkpoint"] = "checkpoint"
    number: int
    path: str
    sha256: str
    metrics: CheckpointMetrics
    best: bool = False


class WarningLine(BaseModel):
    type: Literal["warning"] = "warning"
    message: str
    data: dict[str, Any] = {}


class EvaluationLine(BaseModel):
    type: Literal["evaluation"] = "evaluation"
    evaluation: Evaluation


class DoneLine(BaseModel):
    """The last line of a job that succeeded: the exports by format (paths in the trainer's folder) and the receipt."""

    type: Literal["done"] = "done"
    exports: dict[str, str]
    best: CheckpointMetrics | None = None
    manifest: dict[str, Any]


class FailedLine(BaseModel):
    """The last line of a trainer that ends with 1: `code` is one of `errors.JobFailure`'s."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    retryable: bool = False


Line = Annotated[
    PhaseLine | MetricsLine | CheckpointLine | WarningLine | EvaluationLine | DoneLine | FailedLine,
    Field(discriminator="type"),
]
LINE: TypeAdapter[Line] = TypeAdapter(Line)


class Said(BaseModel):
    """An event before Redis has given it its id."""

    created_at: int
    level: Level = "info"
    type: Literal["message", "metrics"] = "message"
    message: str
    data: dict[str, Any] = {}


class Event(Said):
    """An event as clients see it: OpenAI's `fine_tuning.job.event`. `id` is its place in the job's Redis stream."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
