"""What a trainer says on stdout, a line of JSON each."""

from bisect import bisect_right
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from services.contract.evaluation import Evaluation
from services.contract.model import Receipt
from services.contract.progress import CheckpointMetrics, FeatureUsage, Progress, Trial, leader_of
from services.contract.recipe import Export
from services.contract.shards import PlanLine, ReadyLine, SegmentLine, TakenLine

EXIT_STOPPED = 75  # EX_TEMPFAIL: the trainer's exit status where it stopped on request, after a checkpoint


class PhaseLine(BaseModel):
    """A phase began, or went on: `message` only where a person should read it in the event list."""

    type: Literal["phase"] = "phase"
    progress: Progress
    message: str | None = None


class Steps(BaseModel):
    """Steps of trials that share their batches: `train_loss[t][i]` is that of `trials[t]` at its `step[i]`, which was
    the job's step `at[i]`. A job that is no sweep has one trial, 0, and both count alike."""

    trials: list[int]
    at: list[int]
    step: list[int]
    train_loss: list[list[float]]

    def after(self, last: int) -> "Steps":
        """Without the steps that the job had taken when it was at `last`."""
        start = bisect_right(self.at, last)
        losses = [series[start:] for series in self.train_loss]
        return Steps(trials=self.trials, at=self.at[start:], step=self.step[start:], train_loss=losses)

    def each(self, every: int) -> "Steps":
        """Only those whose number within their trial is a multiple of `every`."""
        if every == 1:
            return self
        kept = [place for place, step in enumerate(self.step) if step % every == 0]
        losses = [[series[place] for place in kept] for series in self.train_loss]
        at, step = [self.at[place] for place in kept], [self.step[place] for place in kept]
        return Steps(trials=self.trials, at=at, step=step, train_loss=losses)


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
    """With a code it stands in the job, too."""

    type: Literal["warning"] = "warning"
    code: str | None = None
    message: str
    data: dict[str, Any] = {}


class EvaluationLine(BaseModel):
    """Of the head that becomes the model; and of every trial."""

    type: Literal["evaluation"] = "evaluation"
    evaluation: Evaluation
    trials: list[Trial] = []


class FeaturesLine(BaseModel):
    """All features are there."""

    type: Literal["features"] = "features"
    usage: FeatureUsage


class DoneLine(BaseModel):
    """The last line of a job that succeeded: the exports by format and what was judged (paths in the trainer's folder),
    the receipt, and by what its logits are divided for probabilities."""

    type: Literal["done"] = "done"
    exports: dict[Export, str]
    receipt: Receipt
    temperature: float = 1.0
    judged: str | None = None


class SpanLine(BaseModel):
    """What was done from when to when (Unix time, s), for the trace of its attempt."""

    type: Literal["span"] = "span"
    name: str
    began: float
    ended: float


class AliveLine(BaseModel):
    """Nothing else was to say for a while."""

    type: Literal["alive"] = "alive"


class FailedLine(BaseModel):
    """The last line of a trainer that ends with 1: `code` is one of `errors.JobFailure`'s."""

    type: Literal["failed"] = "failed"
    code: str
    message: str


Line = Annotated[
    PhaseLine
    | FeaturesLine
    | MetricsLine
    | CheckpointLine
    | WarningLine
    | EvaluationLine
    | AliveLine
    | SpanLine
    | DoneLine
    | FailedLine
    | PlanLine
    | TakenLine
    | ReadyLine
    | SegmentLine,
    Field(discriminator="type"),
]
LINE: TypeAdapter[Line] = TypeAdapter(Line)
