"""A job as it lies in Redis: the fields that Python reads, and what each one's text means."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic_core import to_json

from services.contract.asked import Limits
from services.contract.evaluation import Evaluation
from services.contract.job import Attempt, JobWarning, Reason
from services.contract.model import Result
from services.contract.progress import CheckpointMetrics, FeatureUsage, Progress, Trial
from services.contract.recipe import Hyperparameters, Precision
from services.contract.spec import JobSpec
from services.contract.transitions import Status
from services.contract.weights import DefaultWeights
from services.store import keys
from services.store.migration import VERSION, migrated
from services.store.reading import Parts

ATTEMPTS: Final = TypeAdapter(list[Attempt])
WARNINGS: Final = TypeAdapter(list[JobWarning])


class Binding(BaseModel):
    """What every attempt of a job must match, as its first claim decided: kind, precision and weights. And what whoever
    helps it must match to the bit: the fingerprint of the attempt that runs, or was the last."""

    model_config = ConfigDict(frozen=True)

    kind: str
    precision: Precision
    weights: str
    fingerprint: str = ""


class SharedPlan(BaseModel):
    """A pass that may be helped with: where its plan lies, and how many images a shard has."""

    place: str
    size: int


class Latest(BaseModel):
    """What an attempt may set of its job's record, with each batch of what it says. What is None stays as it was."""

    progress: Progress | None = None
    metrics: CheckpointMetrics | None = None
    best: CheckpointMetrics | None = None
    evaluation: Evaluation | None = None
    trials: list[Trial] | None = None
    features: FeatureUsage | None = None
    last_val_step: int | None = None
    warnings: list[JobWarning] | None = None

    def as_fields(self) -> list[str | bytes]:
        """Field, value, field, value, …"""
        given = {name: value for name, value in self if value is not None}
        return [part for name, value in given.items() for part in (name, to_json(value))]

    @classmethod
    def of_parts(cls, parts: Parts) -> "Latest":
        """Each by itself: one that cannot be read is as one that was never told."""
        known = {name: parts.read(name, partial(cls._parsed, name), None) for name in cls.model_fields}
        return cls.model_construct(**known)

    @classmethod
    def _parsed(cls, name: str, text: str) -> Any:
        return getattr(cls.model_validate_json(f'{{"{name}": {text}}}', extra="ignore"), name)


@dataclass(frozen=True)
class JobRecord:
    """`problem`: why no worker of this version may take it, if so; what can be read of it stands here all the same."""

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
    helped_seconds: float  # of other workers' devices
    plan: SharedPlan | None
    claimed_at: int | None
    trimmed_to: str
    warnings: list[JobWarning]  # of its submission; its attempts' are in `latest`
    latest: Latest
    binding: Binding | None
    result: Result | None  # of a job that ended before models had records of their own
    trace: str | None  # the traceparent of its submission
    is_put_away: bool  # its events, series and checkpoints lie in the store of bytes
    problem: str | None

    @property
    def last_val_step(self) -> int:
        """-1 before any validation."""
        return -1 if self.latest.last_val_step is None else self.latest.last_val_step

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> Self:
        """Raises ValueError or KeyError where not even its owner or its status can be read."""
        fields, parts = migrated(fields), Parts(migrated(fields))
        record = cls(
            id=fields["id"],
            tenant=fields["tenant"],
            status=Status(fields["status"]),
            kind=_known_kind(fields["kind"]),
            created_at=int(fields["created_at"]),
            fence=int(fields["fence"]),
            spec=parts.read("spec", JobSpec.model_validate_json, UNREADABLE, required=True),
            reason=parts.read("reason", Reason.model_validate_json, Reason(code="unknown", message="")),
            started_at=parts.read("started_at", int, None),
            finished_at=parts.read("finished_at", int, None),
            attempt=parts.read("attempt", int, 0),
            attempts=parts.read("attempts", ATTEMPTS.validate_json, []),
            last_step=parts.read("last_step", int, 0),
            checkpoint=parts.read("checkpoint", int, -1),
            device_seconds=parts.read("device_seconds", float, 0.0),
            helped_seconds=parts.read("helped_seconds", float, 0.0),
            plan=parts.read("pass", SharedPlan.model_validate_json, None),
            claimed_at=parts.read("claimed_at", int, None),
            trimmed_to=fields.get("trimmed_to", "0-0"),
            warnings=parts.read("submission_warnings", WARNINGS.validate_json, []),
            latest=Latest.of_parts(parts),
            binding=parts.read("binding", Binding.model_validate_json, None),
            result=parts.read("result", lambda text: Result.model_validate_json(text, extra="ignore"), None),
            trace=fields.get("trace"),
            is_put_away="history" in fields,
            problem=None,
        )
        return record._with_problem(fields, parts.problems)

    def _with_problem(self, fields: Mapping[str, str], unread: list[str]) -> Self:
        """A spec with fields that we do not know is shown by those that we know, and left to those who know all."""
        if not unread and int(fields.get("v", VERSION)) <= VERSION:
            return self
        written = f"it was written by another version (v{fields.get('v', '?')}, here {VERSION}), or damaged"
        problem = f"Its {', '.join(unread) or 'record'} cannot be read here: {written}."
        with suppress(KeyError, ValueError):
            spec = JobSpec.model_validate_json(fields["spec"], extra="ignore")
            return replace(self, spec=spec, problem=problem)
        return replace(self, problem=problem)


def _known_kind(kind: str) -> str:
    if kind not in keys.KINDS:
        raise ValueError(f"{kind!r} is no device kind")
    return kind


# What stands for a spec that cannot be read, so that its job can be seen, cancelled and deleted.
UNREADABLE = JobSpec(
    model="resnet18",
    weights=DefaultWeights(),
    training_file="unreadable",
    validation_file=None,
    split=0.0,
    num_labels=0,
    seed=0,
    hyperparameters=Hyperparameters(),
    device="auto",
    priority=0,
    limits=Limits(),
    suffix=None,
    metadata=None,
    asked={},
)
