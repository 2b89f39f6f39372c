"""A job and its checkpoints as clients see them: OpenAI's objects, and what we add."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.contract.asked import Limits
from services.contract.evaluation import Evaluation
from services.contract.layout import Layout
from services.contract.progress import CheckpointMetrics, FeatureUsage, Progress, Trial
from services.contract.recipe import Hyperparameters, Recipe
from services.contract.transitions import Action, Status
from services.contract.weights import JobWeights


class Reason(BaseModel):
    """Why a job is where it is."""

    code: str
    message: str
    retryable: bool = False


class JobWarning(BaseModel):
    """What a user should know of a job that goes on all the same."""

    code: str
    message: str


class Attempt(BaseModel):
    """One claim of the job by a worker."""

    number: int
    worker: str
    device: str
    started_at: int
    ended_at: int | None = None
    reason: str | None = None
    last_step: int = 0


class QueuePlace(BaseModel):
    """Where a queued job stands: `position` counts from 1, `ahead` are the jobs before it."""

    position: int
    ahead: int


class Usage(BaseModel):
    device_seconds: float = 0.0
    features: FeatureUsage | None = None


class OpenAIError(BaseModel):
    code: str
    message: str
    param: str | None = None


class OpenAIHyperparameters(BaseModel):
    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


class EchoedSupervised(BaseModel):
    hyperparameters: dict[str, Any]


class EchoedMethod(BaseModel):
    type: Literal["supervised"] = "supervised"
    supervised: EchoedSupervised


class Job(Recipe):
    """OpenAI's `fine_tuning.job`, and what we add."""

    # What is shown may grow: who reads it should not be strict.
    model_config = ConfigDict(extra="ignore", strict=False, json_schema_serialization_defaults_required=True)

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    started_at: int | None
    finished_at: int | None
    estimated_finish: int | None
    expires_at: int | None = Field(description="of an ended job, where HEADWAY_RETENTION_DAYS is set; then it goes")
    status: Status
    status_reason: Reason
    allowed_actions: list[Action]
    error: OpenAIError | None
    organization_id: str
    model: str
    weights: JobWeights
    fine_tuned_model: str | None
    training_file: str
    validation_file: str | None
    layout: Layout | None = Field(description="of the training file, where the job states another than the file has")
    split: float
    num_labels: int
    labels: list[str] | None = Field(
        description="by the outputs of the head; null in lists, where there are more than a thousand (the file has "
        "them), and once neither file nor model is left"
    )
    hyperparameters: OpenAIHyperparameters
    resolved_hyperparameters: Hyperparameters
    method: EchoedMethod
    trials: list[Trial] = Field(description="of a sweep, once an epoch was validated: where each head stands")
    best_trial: int | None = Field(description="of a sweep: the trial whose head is the model, or would be now")
    seed: int
    device: str
    priority: int
    limits: Limits
    suffix: str | None
    metadata: dict[str, str] | None
    asked: dict[str, Any] = Field(description="the body, as it was sent")
    queue: QueuePlace | None
    progress: Progress
    warnings: list[JobWarning] = Field(description="what may be wrong with its data or its numbers, and what to try")
    metrics: CheckpointMetrics | None
    best: CheckpointMetrics | None
    evaluation: Evaluation | None
    attempt: int
    attempts: list[Attempt]
    usage: Usage
    result_files: list[str] = Field(default=[])
    trained_tokens: int | None = None
    integrations: list[Any] = Field(default=[])


class OpenAIMetrics(BaseModel):
    step: int
    epoch: int
    train_loss: float | None = None
    valid_loss: float | None = None
    full_valid_loss: float | None = None
    valid_accuracy: float | None = None


class Checkpoint(BaseModel):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: OpenAIMetrics
    best: bool
    bytes: int
    sha256: str
