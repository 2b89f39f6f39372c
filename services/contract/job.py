"""A job, a checkpoint, a file and a worker as clients see them: OpenAI's objects, and what we add."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from services.contract.dataset import Contents
from services.contract.evaluation import Evaluation
from services.contract.events import CheckpointMetrics, FeatureUsage, Progress, Trial
from services.contract.spec import CheckpointPlan, EarlyStopping, Hyperparameters, Limits, Sweep
from services.contract.transitions import Action, Status


class Reason(BaseModel):
    """Why a job is where it is."""

    code: str
    message: str
    retryable: bool = False


class Attempt(BaseModel):
    """One claim of the job by a worker."""

    number: int
    worker: str
    device: str
    started_at: int
    ended_at: int | None = None
    reason: str | None = None
    last_step: int = 0


class Place(BaseModel):
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


class EchoedMethod(BaseModel):
    class Supervised(BaseModel):
        hyperparameters: dict[str, Any]

    type: Literal["supervised"] = "supervised"
    supervised: Supervised


class Job(BaseModel):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    started_at: int | None
    finished_at: int | None
    estimated_finish: int | None
    status: Status
    status_reason: Reason
    allowed_actions: list[Action]
    error: OpenAIError | None
    organization_id: str
    model: str
    weights: str
    fine_tuned_model: str | None
    training_file: str
    validation_file: str | None
    split: float
    num_labels: int
    labels: list[str]
    hyperparameters: OpenAIHyperparameters
    resolved_hyperparameters: Hyperparameters
    method: EchoedMethod
    feature_scaling: str
    precision: str
    sweep: Sweep | None
    trials: list[Trial] = Field(description="of a sweep, once an epoch was validated: where each head stands")
    best_trial: int | None = Field(description="of a sweep: the trial whose head is the model, or would be now")
    early_stopping: EarlyStopping | None
    checkpoints: CheckpointPlan
    export: list[str]
    seed: int
    device: str
    priority: int
    limits: Limits
    suffix: str | None
    metadata: dict[str, str] | None
    asked: dict[str, Any] = Field(description="the body, as it was sent")
    queue: Place | None
    progress: Progress
    metrics: CheckpointMetrics | None
    best: CheckpointMetrics | None
    evaluation: Evaluation | None
    attempt: int
    attempts: list[Attempt]
    usage: Usage
    result_files: list[str] = []
    trained_tokens: int | None = None
    integrations: list[Any] = []


class Checkpoint(BaseModel):
    class Metrics(BaseModel):
        step: int
        epoch: int
        train_loss: float | None = None
        valid_loss: float | None = None
        full_valid_loss: float | None = None
        valid_accuracy: float | None = None

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: Metrics
    best: bool
    bytes: int
    sha256: str


class File(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    sha256: str
    contents: Contents


class Worker(BaseModel):
    """A worker's own report: what its device is, how its preflight went, what it does now."""

    id: str
    object: Literal["worker"] = "worker"
    device: str
    kind: str
    status: Literal["idle", "busy", "draining"]
    job: str | None
    started_at: int
    seen_at: int
    host: str
    pid: int
    version: str
    preflight: list[dict[str, Any]]
