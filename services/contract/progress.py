"""How far a job is, and how good: told by its trainer, kept in its record, shown to its clients."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

from services.contract.evaluation import Evaluation
from services.contract.recipe import Hyperparameters
from services.contract.units import TrainLoss, ValAccuracy, ValLoss

Phase = Literal["starting", "features", "training", "evaluating", "exporting", "done"]
TrialStatus = Literal["training", "stopped_early", "diverged", "done"]


class Progress(BaseModel):
    """How far a job has come."""

    phase: Phase = Field("starting", description="what it does now; features and training overlap")
    percent: float = Field(0.0, description="0 to 100")
    epoch: int = Field(0, description="the running one, from 1; 0 before")
    n_epochs: int | None = Field(None, description="null before training")
    step: int = Field(0, description="steps taken, of all trials together")
    total_steps: int | None = Field(None, description="if no trial stops early; null before training")
    images: int = Field(0, description="in the features phase, computed so far; then the training images")
    total_images: int | None = Field(
        None, description="in the features phase, to be computed; then the training images"
    )
    images_per_second: float | None = Field(
        None, description="the backbone's in the features phase, then the head's; null until it is known"
    )
    eta_seconds: float | None = Field(None, description="s until this phase ends; null until it is known")


class CheckpointMetrics(BaseModel):
    step: int = Field(description="in trials, the trial's own; else the job's, of all trials together")
    epoch: int = Field(description="epochs that were finished")
    train_loss: TrainLoss = None
    val_loss: ValLoss = None
    val_accuracy: ValAccuracy = None


class Trial(BaseModel):
    """One head of a job, and where it stands."""

    trial: int = Field(description="its number, from 0")
    hyperparameters: Hyperparameters = Field(description="as resolved, for this trial")
    status: TrialStatus = Field(
        "training", description='"stopped_early" by early_stopping; "diverged": its numbers are no longer finite'
    )
    leads: bool = Field(False, description="its head would be the model now")
    metrics: CheckpointMetrics = Field(description="where it stands")
    best: CheckpointMetrics | None = Field(None, description="at its best epoch; null before any was validated")
    evaluation: Evaluation | None = Field(None, description="null until the end, and where it diverged")


def leader_of(trials: Iterable[Trial]) -> Trial | None:
    """None before any was told."""
    return next((trial for trial in trials if trial.leads), None)


class FeatureUsage(BaseModel):
    """Of the last attempt; equal images count once."""

    hits: int = Field(description="images found in the cache")
    misses: int = Field(description="images that went through the backbone")
    seconds_saved: float = Field(description="s that those found had once taken")
