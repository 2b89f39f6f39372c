"""Records as clients see them."""

import time
from collections.abc import Sequence

from services.api.waiting import reason_of
from services.contract.file import File
from services.contract.fleet import Worker
from services.contract.ids import checkpoint_id, checkpoint_model_id, model_id
from services.contract.job import (
    Checkpoint,
    EchoedMethod,
    EchoedSupervised,
    Job,
    OpenAIError,
    OpenAIHyperparameters,
    OpenAIMetrics,
    QueuePlace,
    Reason,
    Usage,
)
from services.contract.layout import GUESSED
from services.contract.progress import Progress, leader_of
from services.contract.recipe import BASE_LEARNING_RATE, Hyperparameters, Recipe
from services.contract.transitions import ENDED, OWNED, Status, allowed_actions
from services.store.checkpoints import CheckpointRecord
from services.store.files import FileRecord
from services.store.record import JobRecord


def job_view(
    record: JobRecord,
    retention: float | None,
    workers: Sequence[Worker],
    place: QueuePlace | None = None,
    labels: list[str] | None = None,
) -> Job:
    """`retention` in days; `workers` are those that take jobs."""
    spec, latest, trials = record.spec, record.latest, record.latest.trials or []
    leader = leader_of(trials)
    recipe = spec.fields_of(Recipe)
    if record.binding:
        recipe["precision"] = record.binding.precision
    openai = _openai(spec.hyperparameters)
    echoed = EchoedSupervised(hyperparameters=spec.hyperparameters.model_dump() | openai.model_dump())
    return Job(
        **recipe,
        id=record.id,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        estimated_finish=_estimated_finish(record),
        expires_at=expires_at(record, retention),
        status=record.status,
        status_reason=_reason(record, workers),
        allowed_actions=allowed_actions(record.status),
        error=_error(record),
        organization_id=record.tenant,
        model=spec.model,
        weights=spec.weights,
        fine_tuned_model=model_id(record.id, spec.suffix) if record.status is Status.SUCCEEDED else None,
        training_file=spec.training_file,
        validation_file=spec.validation_file,
        layout=spec.layout,
        split=spec.split,
        num_labels=spec.num_labels,
        labels=labels,
        hyperparameters=openai,
        resolved_hyperparameters=spec.hyperparameters,
        method=EchoedMethod(supervised=echoed),
        trials=trials,
        best_trial=leader.trial if leader else None,
        seed=spec.seed,
        device=spec.device,
        priority=spec.priority,
        limits=spec.limits,
        suffix=spec.suffix,
        metadata=spec.metadata,
        asked=spec.asked,
        queue=place,
        progress=latest.progress or Progress(),
        warnings=[*record.warnings, *(latest.warnings or [])],
        metrics=latest.metrics,
        best=latest.best,
        evaluation=latest.evaluation,
        attempt=record.attempt,
        attempts=record.attempts,
        usage=Usage(device_seconds=_device_seconds(record), features=latest.features),
    )


def _openai(hp: Hyperparameters) -> OpenAIHyperparameters:
    return OpenAIHyperparameters(
        n_epochs=hp.n_epochs,
        batch_size=hp.batch_size,
        learning_rate_multiplier=hp.learning_rate / BASE_LEARNING_RATE,
    )


def _reason(record: JobRecord, workers: Sequence[Worker]) -> Reason:
    if record.problem is not None and record.status not in ENDED:
        return Reason(code="record_unreadable", message=record.problem)
    return reason_of(record, workers)


def _error(record: JobRecord) -> OpenAIError | None:
    if record.status is not Status.FAILED:
        return None
    return OpenAIError(code=record.reason.code, message=record.reason.message)


def _estimated_finish(record: JobRecord) -> int | None:
    eta = record.latest.progress.eta_seconds if record.latest.progress else None
    return int(time.time() + eta) if record.status is Status.RUNNING and eta is not None else None


def expires_at(record: JobRecord, retention: float | None) -> int | None:
    if retention is None or record.finished_at is None:
        return None
    return record.finished_at + round(retention * 86400)


def _device_seconds(record: JobRecord) -> float:
    """Of ended attempts, and of the one that runs."""
    running = record.status in OWNED and record.claimed_at is not None
    now = time.time() - record.claimed_at / 1000 if running and record.claimed_at else 0.0
    return round(record.device_seconds + record.helped_seconds + max(0.0, now), 3)


def checkpoint_view(record: JobRecord, known: CheckpointRecord) -> Checkpoint:
    id = checkpoint_id(record.id, known.number)
    return Checkpoint(
        id=id,
        created_at=known.created_at,
        fine_tuning_job_id=record.id,
        fine_tuned_model_checkpoint=checkpoint_model_id(record.id, record.spec.suffix, known.metrics.step),
        step_number=known.metrics.step,
        metrics=OpenAIMetrics(
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


def file_view(record: FileRecord, *, in_a_list: bool = False) -> File:
    return File(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        filename=record.filename,
        sha256=record.sha256,
        expires_at=record.expires_at,
        contents=record.contents.in_short() if in_a_list else record.contents,
        layout=None if record.layout == GUESSED else record.layout,
        findings=[] if in_a_list else list(record.findings),
    )
