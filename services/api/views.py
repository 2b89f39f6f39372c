"""Records as clients see them."""

import time

from services.contract.dataset import Contents
from services.contract.events import leader_of
from services.contract.ids import checkpoint_id, model_id
from services.contract.job import (
    Checkpoint,
    EchoedMethod,
    File,
    Job,
    OpenAIError,
    OpenAIHyperparameters,
    Place,
    Usage,
)
from services.contract.spec import BASE_LEARNING_RATE
from services.contract.transitions import OWNED, Status, allowed_actions
from services.store.checkpoints import Known
from services.store.files import FileRecord
from services.store.jobs import Record


def job_view(record: Record, place: Place | None) -> Job:
    spec, hp, leader = record.spec, record.spec.hyperparameters, leader_of(record.trials)
    failed = record.status is Status.FAILED
    openai = OpenAIHyperparameters(
        n_epochs=hp.n_epochs,
        batch_size=hp.batch_size,
        learning_rate_multiplier=hp.learning_rate / BASE_LEARNING_RATE,
    )
    return Job(
        id=record.id,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        estimated_finish=_estimated_finish(record),
        status=record.status,
        status_reason=record.reason,
        allowed_actions=allowed_actions(record.status),
        error=OpenAIError(code=record.reason.code, message=record.reason.message) if failed else None,
        organization_id=record.tenant,
        model=spec.model,
        weights=spec.weights,
        fine_tuned_model=model_id(record.id, spec.suffix) if record.status is Status.SUCCEEDED else None,
        training_file=spec.training_file,
        validation_file=spec.validation_file,
        split=spec.split,
        num_labels=spec.num_labels,
        labels=spec.labels,
        hyperparameters=openai,
        resolved_hyperparameters=hp,
        method=EchoedMethod(supervised=EchoedMethod.Supervised(hyperparameters=hp.model_dump() | openai.model_dump())),
        feature_scaling=spec.feature_scaling,
        precision=record.precision or spec.precision,
        sweep=spec.sweep,
        trials=record.trials,
        best_trial=leader and leader.trial,
        early_stopping=spec.early_stopping,
        checkpoints=spec.checkpoints,
        export=list(spec.export),
        seed=spec.seed,
        device=spec.device,
        priority=spec.priority,
        limits=spec.limits,
        suffix=spec.suffix,
        metadata=spec.metadata,
        asked=spec.asked,
        queue=place,
        progress=record.progress,
        metrics=record.metrics,
        best=record.best,
        evaluation=record.evaluation,
        attempt=record.attempt,
        attempts=record.attempts,
        usage=Usage(device_seconds=_device_seconds(record), features=record.features),
    )


def _estimated_finish(record: Record) -> int | None:
    eta = record.progress.eta_seconds
    return int(time.time() + eta) if record.status is Status.RUNNING and eta is not None else None


def _device_seconds(record: Record) -> float:
    """Of ended attempts, and of the one that runs."""
    running = record.status in OWNED and record.claimed_at is not None
    now = time.time() - record.claimed_at / 1000 if running and record.claimed_at else 0.0
    return round(record.device_seconds + max(0.0, now), 3)


def checkpoint_view(record: Record, known: Known) -> Checkpoint:
    id = checkpoint_id(record.id, known.number)
    return Checkpoint(
        id=id,
        created_at=known.created_at,
        fine_tuning_job_id=record.id,
        fine_tuned_model_checkpoint=f"{model_id(record.id, record.spec.suffix)}:step-{known.metrics.step}",
        step_number=known.metrics.step,
        metrics=Checkpoint.Metrics(
            step=known.metrics.step,
            epoch=known.metrics.epoch,
            train_loss=known.metrics.train_loss,
            valid_loss=known.metrics.val_loss,
            full_valid_loss=known.metrics.val_loss,
            valid_accuracy=known.metrics.val_accuracy,
        ),
        best=known.best,
        bytes=known.bytes,
        sha256=known.sha256,
    )


def file_view(record: FileRecord) -> File:
    return File(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        filename=record.filename,
        sha256=record.sha256,
        contents=Contents.model_validate(record.contents),
    )
