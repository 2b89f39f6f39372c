"""A job as it lies in Redis: the fields that Python reads, and what each one's text means."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from services.contract.evaluation import Evaluation
from services.contract.job import Attempt, Reason
from services.contract.model import Result
from services.contract.progress import CheckpointMetrics, FeatureUsage, Progress, Trial
from services.contract.recipe import Precision
from services.contract.spec import JobSpec
from services.contract.transitions import Status


class Binding(BaseModel):
    """What every attempt of a job must match: decided by its first claim, compared by the claim's script as JSON."""

    model_config = ConfigDict(frozen=True)

    kind: str
    precision: Precision
    weights: str


class Latest(BaseModel):
    """What an attempt may set of its job's record, with each batch of what it says. What is None stays as it was."""

    progress: Progress | None = None
    metrics: CheckpointMetrics | None = None
    best: CheckpointMetrics | None = None
    evaluation: Evaluation | None = None
    trials: list[Trial] | None = None
    features: FeatureUsage | None = None
    last_val_step: int | None = None

    def as_fields(self) -> list[str | bytes]:
        """Field, value, field, value, …"""
        given = {name: value for name, value in self if value is not None}
        return [part for name, value in given.items() for part in (name, to_json(value))]

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> Self:
        return cls.model_validate({name: json.loads(fields[name]) for name in cls.model_fields if name in fields})


@dataclass(frozen=True)
class JobRecord:
    id: str
    tenant: str
    spec: JobSpec
    status: Status
    reason: Reason
    kind: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    fence: int
    attempt: int
    attempts: list[Attempt]
    last_step: int
    checkpoint: int
    device_seconds: float
    claimed_at: int | None
    trimmed_to: str
    latest: Latest
    binding: Binding | None
    result: Result | None

    @property
    def last_val_step(self) -> int:
        """-1 before any validation."""
        return -1 if self.latest.last_val_step is None else self.latest.last_val_step

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> Self:
        def whole(name: str) -> int | None:
            return int(fields[name]) if fields.get(name) else None

        return cls(
            id=fields["id"],
            tenant=fields["tenant"],
            spec=JobSpec.model_validate_json(fields["spec"]),
            status=Status(fields["status"]),
            reason=Reason.model_validate_json(fields["reason"]),
            kind=fields["kind"],
            created_at=int(fields["created_at"]),
            started_at=whole("started_at"),
            finished_at=whole("finished_at"),
            fence=int(fields["fence"]),
            attempt=int(fields["attempt"]),
            attempts=[Attempt.model_validate(attempt) for attempt in json.loads(fields["attempts"])],
            last_step=int(fields["last_step"]),
            checkpoint=int(fields["checkpoint"]),
            device_seconds=float(fields["device_seconds"]),
            claimed_at=whole("claimed_at"),
            trimmed_to=fields["trimmed_to"],
            latest=Latest.of_fields(fields),
            binding=Binding.model_validate_json(fields["binding"]) if fields.get("binding") else None,
            result=Result.model_validate_json(fields["result"]) if "result" in fields else None,
        )
