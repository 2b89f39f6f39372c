"""What a trainer says on stdout, a line of JSON each, and what a client hears of it."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from services.contract.evaluation import Evaluation
from services.contract.spec import Hyperparameters

Phase = Literal["starting", "features", "training", "evaluating", "exporting", "done"]
Level = Literal["info", "warn", "error"]
TrialStatus = Literal["training", "stopped_early", "diverged", "done"]

EXIT_STOPPED = 75  # EX_TEMPFAIL: the trainer's exit status where it stopped on request, after a checkpoint


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


class CheckpointMetrics(BaseModel):
    step: int
    epoch: int
    train_loss: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None


class Steps(BaseModel):
    """Steps of trials that share their batches: `train_loss[t][i]` is that of `trials[t]` at its `step[i]`, which was
    the job's step `at[i]`. A job that is no sweep has one trial, 0, and both count alike."""

    trials: list[int]
    at: list[int]
    step: list[int]
    train_loss: list[list[float]]

    def after(self, heard: int) -> "Steps":
        """Without the steps that the job had taken when it was at `heard`."""
        start = bisect_right(self.at, heard)
        losses = [series[start:] for series in self.train_loss]
        return Steps(trials=self.trials, at=self.at[start:], step=self.step[start:], train_loss=losses)


class Trial(BaseModel):
    """One head of a job, and where it stands. `best` is its best epoch; `leads` if its head would be the model now."""

    trial: int
    hyperparameters: Hyperparameters
    status: TrialStatus = "training"
    leads: bool = False
    metrics: CheckpointMetrics
    best: CheckpointMetrics | None = None
    evaluation: Evaluation | None = None


def leader_of(trials: Iterable[Trial]) -> Trial | None:
    """None before any was told."""
    return next((trial for trial in trials if trial.leads), None)


class Validation(BaseModel):
    """A trial after one of its epochs, judged on the held-out images; `at` counts the job's steps."""

    trial: int
    at: int
    step: int
    epoch: int
    val_loss: float
    val_accuracy: float


class MetricsLine(BaseModel):
    """What came since the line before, packed; and, if any epoch was validated, where every trial stands now."""

    type: Literal["metrics"] = "metrics"
    steps: list[Steps]
    validations: list[Validation] = []
    trials: list[Trial] = []
    progress: Progress

    @property
    def leader(self) -> Trial | None:
        return leader_of(self.trials)


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
    """Of the head that becomes the model; and of every trial."""

    type: Literal["evaluation"] = "evaluation"
    evaluation: Evaluation
    trials: list[Trial] = []


class FeatureUsage(BaseModel):
    """Of the last attempt: images found in the cache, images that went through the backbone, and the seconds that
    those found had once taken."""

    hits: int
    misses: int
    seconds_saved: float


class FeaturesLine(FeatureUsage):
    """All features are there."""

    type: Literal["features"] = "features"


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
    PhaseLine | FeaturesLine | MetricsLine | CheckpointLine | WarningLine | EvaluationLine | DoneLine | FailedLine,
    Field(discriminator="type"),
]
LINE: TypeAdapter[Line] = TypeAdapter(Line)
TRIALS = TypeAdapter(list[Trial])


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
