"""How far a job is, and how good: told by its trainer, kept in its record, shown to its clients."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel

from services.contract.evaluation import Evaluation
from services.contract.recipe import Hyperparameters

Phase = Literal["starting", "features", "training", "evaluating", "exporting", "done"]
TrialStatus = Literal["training", "stopped_early", "diverged", "done"]


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


class CheckpointMetrics(BaseModel):
    step: int
    epoch: int
    train_loss: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None


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


class FeatureUsage(BaseModel):
    """Of the last attempt: images found in the cache, images that went through the backbone, and the seconds that
    those found had once taken."""

    hits: int
    misses: int
    seconds_saved: float
