"""Models as records of their own: born with the end of their job, kept until they or their job are deleted."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from services.contract.model import Result
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.commands import Redis
from services.store.jobs import Jobs
from services.store.migration import VERSION
from services.store.reading import read_hash, read_hashes, refuse_newer, say_once, some_ids
from services.store.record import JobRecord
from services.store.scripts import Scripts


@dataclass(frozen=True)
class ModelRecord:
    """`result` says where its files lie and how it was made."""

    id: str
    tenant: str
    job: str
    created_at: int
    result: Result


@dataclass(frozen=True)
class Models:
    redis: Redis
    scripts: Scripts
    blobs: Blobs
    jobs: Jobs

    async def of_job(self, tenant: str, job: str) -> ModelRecord | None:
        """What a job left, unless it was deleted."""
        fields = await read_hash(self.redis, self.scripts, keys.model(job))
        found = _record(fields) if fields else _of_old(await self.jobs.owned_by(tenant, job))
        return found if found is not None and found.tenant == tenant else None

    async def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[ModelRecord], bool]:
        """Newest first, from the one before the model of the job `after`; and whether there are more."""
        ids, more = await some_ids(self.redis, keys.models_of(tenant), after=after, limit=limit)
        found = [_record(fields) for fields in await read_hashes(self.redis, map(keys.model, ids)) if fields]
        return [record for record in found if record is not None], more

    async def labels(self, record: ModelRecord) -> list[str] | None:
        """Their names, by the outputs of the head; None where the bytes are gone."""
        with suppress(FileNotFoundError):
            kept = await asyncio.to_thread(self.blobs.get, places.labels(record.result.place))
            return list(map(str, json.loads(kept)))
        return None

    async def forget(self, record: ModelRecord) -> None:
        """The model with its files. Its job stays."""
        await asyncio.to_thread(self.blobs.delete_folder, places.models(record.tenant, record.job))
        await self.scripts(
            "delete_model", [keys.model(record.job), keys.models_of(record.tenant), keys.job(record.job)], [record.job]
        )


def _record(fields: Mapping[str, str]) -> ModelRecord | None:
    try:
        refuse_newer(fields, VERSION)
        return ModelRecord(
            id=fields["id"],
            tenant=fields["tenant"],
            job=fields["job"],
            created_at=int(fields["created_at"]),
            result=Result.model_validate_json(fields["result"], extra="ignore"),
        )
    except (KeyError, ValidationError, ValueError) as error:
        say_once(f"model {fields.get('id')}", str(error))
        return None


def _of_old(job: JobRecord | None) -> ModelRecord | None:
    """Of a job that ended before models had records of their own."""
    if job is None or job.result is None:
        return None
    result = job.result.model_copy(
        update={
            "training_file": job.spec.training_file,
            "validation_file": job.spec.validation_file,
            "evaluation": job.latest.evaluation,
        }
    )
    return ModelRecord(result.model, job.tenant, job.id, job.finished_at or job.created_at, result)
