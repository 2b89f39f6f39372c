"""A job and its checkpoints as clients see them: OpenAI's objects, and what we add."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.contract.asked import Limits
from services.contract.evaluation import Evaluation
from services.contract.layout import Layout
from services.contract.progress import CheckpointMetrics, FeatureUsage, Progress, Trial
from services.contract.recipe import BASE_LEARNING_RATE, Hyperparameters, Recipe
from services.contract.transitions import Action, Status
from services.contract.units import Bytes, DeviceName, Id, Object, Sha256, TrainLoss, UnixTime, ValAccuracy, ValLoss
from services.contract.weights import JobWeights


class Reason(BaseModel):
    """Why a job is where it is."""

    code: str = Field(
        description="the status, or what led to it: a failure's code, waiting_for_worker, waiting_for_turn, released, …"
    )
    message: str = Field(description="a sentence")
    retryable: bool = Field(False, description="of a failed job: the same request may succeed later")


class JobWarning(BaseModel):
    """What a user should know of a job that goes on all the same."""

    code: str = Field(description="its kind, for programs")
    message: str = Field(description="a sentence")


class Attempt(BaseModel):
    """One claim of the job by a worker."""

    number: int = Field(description="from 1")
    worker: str = Field(description="its id")
    device: DeviceName
    started_at: UnixTime
    ended_at: int | None = Field(None, description="Unix time, s; null while it runs")
    reason: str | None = Field(None, description="why it ended, as a code; null while it runs")
    last_step: int = Field(0, description="the job's last step as it ended; while it runs, as it began")


class QueuePlace(BaseModel):
    """Where a queued job stands, as an estimate: tenants take turns."""

    position: int = Field(description="from 1, among those that wait for the same kind of device")
    ahead: int = Field(description="jobs before it")


class Usage(BaseModel):
    device_seconds: float = Field(0.0, description="s that workers held it, all attempts together")
    features: FeatureUsage | None = Field(None, description="null until all of them are there")


class OpenAIError(BaseModel):
    code: str = Field(description="as in status_reason")
    message: str = Field(description="a sentence")
    param: str | None = Field(None, description="always null")


class OpenAIHyperparameters(BaseModel):
    n_epochs: int = Field(description="times that each training image is seen")
    batch_size: int = Field(description="images a step")
    learning_rate_multiplier: float = Field(description=f"the learning rate, in units of {BASE_LEARNING_RATE}")


class EchoedSupervised(BaseModel):
    hyperparameters: dict[str, Any] = Field(description="as resolved, in our names and OpenAI's")


class EchoedMethod(BaseModel):
    type: Literal["supervised"] = Field("supervised", description="the only one there is")
    supervised: EchoedSupervised = Field(description="what it took")


class Job(Recipe):
    """OpenAI's `fine_tuning.job`, and what we add."""

    # What is shown may grow: who reads it should not be strict.
    model_config = ConfigDict(extra="ignore", strict=False, json_schema_serialization_defaults_required=True)

    id: Id
    object: Object[Literal["fine_tuning.job"]] = "fine_tuning.job"
    created_at: UnixTime
    started_at: int | None = Field(description="Unix time, s, of its first attempt; null before")
    finished_at: int | None = Field(description="Unix time, s, at which it ended, however it did; null before")
    estimated_finish: int | None = Field(
        description="Unix time, s, by progress.eta_seconds; null unless it runs and that is known"
    )
    expires_at: int | None = Field(
        description="Unix time, s, at which an ended job goes; null before, and without HEADWAY_RETENTION_DAYS"
    )
    status: Status = Field(description="where it is")
    status_reason: Reason = Field(description="why it is there")
    allowed_actions: list[Action] = Field(description="what it may be asked now")
    error: OpenAIError | None = Field(description="null unless it failed")
    organization_id: str = Field(description="the tenant whose it is")
    model: str = Field(description="the backbone")
    weights: JobWeights = Field(description='of the backbone: "default" (ImageNet) or "random:N"')
    fine_tuned_model: str | None = Field(description="the model's name; null until it succeeded")
    training_file: str = Field(description="a file's id")
    validation_file: str | None = Field(description="a file's id, if one was given")
    layout: Layout | None = Field(description="of the training file, where the job states another than the file has")
    split: float = Field(description="share held out for validation, 0 to below 1; 0 where validation images are given")
    num_labels: int = Field(description="outputs of the head")
    labels: list[str] | None = Field(
        description="by the outputs of the head; null in lists, where there are more than a thousand (the file has "
        "them), and once neither file nor model is left"
    )
    hyperparameters: OpenAIHyperparameters = Field(description="those that OpenAI has")
    resolved_hyperparameters: Hyperparameters = Field(
        description="all, as they are used; of a sweep, for what is not swept"
    )
    method: EchoedMethod = Field(description="OpenAI's form of them")
    trials: list[Trial] = Field(description="of a sweep, once an epoch was validated: where each head stands")
    best_trial: int | None = Field(description="of a sweep: the trial whose head is the model, or would be now")
    seed: int = Field(description="of the first head, the split and the shuffles")
    device: str = Field(description="as asked: auto, cuda, mps or cpu")
    priority: int = Field(description="0 to 9: higher goes first, among the jobs of one tenant")
    limits: Limits = Field(description="beyond which it fails")
    suffix: str | None = Field(description="in the model's name")
    metadata: dict[str, str] | None = Field(description="pairs of yours, as they were sent")
    asked: dict[str, Any] = Field(description="the body, as it was sent")
    queue: QueuePlace | None = Field(description="where it stands in line; null unless it is queued")
    progress: Progress = Field(description="how far it is")
    warnings: list[JobWarning] = Field(description="what may be wrong with its data or its numbers, and what to try")
    metrics: CheckpointMetrics | None = Field(description="at its last checkpoint; null before the first")
    best: CheckpointMetrics | None = Field(
        description="at the best of its checkpoints; null before any epoch was validated"
    )
    evaluation: Evaluation | None = Field(description="of its model; null before, and where nothing was held out")
    attempt: int = Field(description="how many there were, the running one too")
    attempts: list[Attempt] = Field(description="the last 50, oldest first")
    usage: Usage = Field(description="what it took")
    result_files: list[str] = Field([], description="OpenAI's; always []")
    trained_tokens: int | None = Field(None, description="OpenAI's; always null")
    integrations: list[Any] = Field([], description="OpenAI's; always []")


class OpenAIMetrics(BaseModel):
    step: int = Field(description="the job's, of all trials together")
    epoch: int = Field(description="epochs that were finished")
    train_loss: TrainLoss = None
    valid_loss: ValLoss = None
    full_valid_loss: ValLoss = None
    valid_accuracy: ValAccuracy = None


class Checkpoint(BaseModel):
    id: str = Field(description="ftckpt-, the job's ULID and a number")
    object: Object[Literal["fine_tuning.job.checkpoint"]] = "fine_tuning.job.checkpoint"
    created_at: UnixTime
    fine_tuning_job_id: str = Field(description="whose it is")
    fine_tuned_model_checkpoint: str = Field(description="a name, as OpenAI has it; …/content has the bytes")
    step_number: int = Field(description="the job's, of all trials together")
    metrics: OpenAIMetrics = Field(description="of the trial that led")
    best: bool = Field(description="it was the best so far on what is held out")
    bytes: Bytes
    sha256: Sha256
