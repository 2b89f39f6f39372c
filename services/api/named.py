"""A model as a request names it: what a job left, or one of its checkpoints."""

from dataclasses import dataclass

from services.contract.ids import checkpoint_id, checkpoint_model_id, model_named
from services.contract.model import Model
from services.contract.progress import CheckpointMetrics
from services.store.checkpoints import CheckpointRecord
from services.store.models import ModelRecord
from services.store.record import JobRecord
from services.store.store import Store


@dataclass(frozen=True)
class NamedModel:
    """One of `record` and `checkpoint` is there."""

    id: str
    job: JobRecord
    record: ModelRecord | None = None
    checkpoint: CheckpointRecord | None = None

    @property
    def metrics(self) -> CheckpointMetrics | None:
        if self.checkpoint is not None:
            return self.checkpoint.metrics
        kept_best = self.job.spec.early_stopping is not None
        return self.job.latest.best if kept_best else self.job.latest.metrics

    async def labels(self, store: Store) -> list[str] | None:
        """All of them, by the outputs of the head."""
        if self.record is not None:
            return await store.models.labels(self.record)
        return await store.trained_labels(self.job)


async def named_model(name: str, tenant: str, store: Store) -> NamedModel | None:
    """None where the tenant has no such model."""
    parts = model_named(name)
    job = await store.jobs.owned_by(tenant, parts.job) if parts else None
    if parts is None or job is None or parts.suffix != (job.spec.suffix or ""):
        return None
    if parts.step is None:
        record = await store.models.of_job(tenant, job.id)
        return NamedModel(record.id, job, record=record) if record else None
    found = [known for known in await store.checkpoints.all(job.id) if known.metrics.step == parts.step]
    return (
        NamedModel(checkpoint_model_id(job.id, job.spec.suffix, parts.step), job, checkpoint=found[-1])
        if found
        else None
    )


def model_view(model: NamedModel, expires_at: int | None, labels: list[str] | None = None) -> Model:
    job, record, checkpoint = model.job, model.record, model.checkpoint
    result = record.result if record else None
    return Model(
        id=model.id,
        created=record.created_at if record else checkpoint.created_at if checkpoint else job.created_at,
        owned_by=job.tenant,
        expires_at=expires_at,
        weights=str(job.spec.weights),
        weights_sha256=result.receipt.weights_sha256 if result else None,
        job=job.id,
        training_file=job.spec.training_file,
        validation_file=job.spec.validation_file,
        checkpoint=checkpoint_id(job.id, checkpoint.number) if checkpoint else None,
        num_labels=job.spec.num_labels,
        labels=labels,
        metrics=model.metrics,
        evaluation=result.evaluation if result else None,
        temperature=result.temperature if result else 1.0,
        formats=sorted(result.exports) if result else [],
    )
