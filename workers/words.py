"""What a trainer's lines become: events for those who listen, points of the series, failures by their code."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.contract import errors
from services.contract.events import (
    FailedLine,
    FeaturesLine,
    MetricsLine,
    PhaseLine,
    Progress,
    Said,
    Steps,
    Validation,
)
from services.store.events import Point


def said(level: str, message: str, data: dict[str, object], *, type: str = "message") -> Said:
    return Said.model_validate(
        {"created_at": int(time.time()), "level": level, "type": type, "message": message, "data": data}
    )


def phase(line: PhaseLine) -> Said:
    data = line.progress.model_dump(exclude_none=True)
    if line.message:
        return said("info", line.message, data)
    return said("info", _phase_message(line.progress), data, type="metrics")


def _phase_message(progress: Progress) -> str:
    if progress.phase == "features":
        return f"Features: {progress.images} of {progress.total_images} images"
    return progress.phase.capitalize()


def metrics(line: MetricsLine, steps: Sequence[Steps], validated: Sequence[Validation], *, sweep: bool) -> Said:
    """`steps` and `validated` are what of the line is new."""
    values = _values(steps, validated)
    data = line.progress.model_dump(exclude_none=True) | (_of_sweep(line, values) if sweep else values[0])
    return said("info", _metrics_message(line, sweep=sweep), data, type="metrics")


def _values(steps: Sequence[Steps], validated: Sequence[Validation]) -> dict[int, dict[str, Any]]:
    """What a client plots, by trial: the last values, and all that were packed."""
    found: dict[int, dict[str, Any]] = {}
    for pack in steps:
        for trial, losses in zip(pack.trials, pack.train_loss, strict=True):
            values = found.setdefault(trial, {"series": {"step": [], "train_loss": []}})
            values["train_loss"] = losses[-1]
            values["series"]["step"] += pack.step
            values["series"]["train_loss"] += losses
    for one in validated:
        values = found.setdefault(one.trial, {})
        values.update(val_loss=one.val_loss, val_accuracy=one.val_accuracy)
        series = values.setdefault("validations", {"step": [], "val_loss": [], "val_accuracy": []})
        for name, so_far in series.items():
            so_far.append(getattr(one, name))
    return found


def _of_sweep(line: MetricsLine, values: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """Every trial's values, and above them those of the one that leads."""
    data: dict[str, Any] = {"trials": [{"trial": trial, **values[trial]} for trial in sorted(values)]}
    if line.leader:
        data["best_trial"] = line.leader.trial
        data |= line.leader.metrics.model_dump(include={"train_loss", "val_loss", "val_accuracy"})
    return data


def points(steps: Sequence[Steps], validated: Sequence[Validation]) -> Iterator[Point]:
    for pack in steps:
        for trial, losses in zip(pack.trials, pack.train_loss, strict=True):
            yield from (Point("train_loss", at, loss, trial) for at, loss in zip(pack.step, losses, strict=True))
    for one in validated:
        yield Point("val_loss", one.step, one.val_loss, one.trial)
        yield Point("val_accuracy", one.step, one.val_accuracy, one.trial)


def _metrics_message(line: MetricsLine, *, sweep: bool) -> str:
    parts, leader = [], line.leader
    if sweep:
        count = len({trial for pack in line.steps for trial in pack.trials})
        parts = [f"{count} trials"] if count else []
        parts += [f"trial {leader.trial} leads"] if leader else []
    elif line.steps:
        parts = [f"training loss={line.steps[-1].train_loss[0][-1]:.4f}"]
    if leader and leader.metrics.val_loss is not None and leader.metrics.val_accuracy is not None:
        parts.append(f"validation loss={leader.metrics.val_loss:.4f}, accuracy={leader.metrics.val_accuracy:.3f}")
    return f"Step {line.progress.step}/{line.progress.total_steps}: {', '.join(parts)}"


def feature_counts(line: FeaturesLine) -> dict[str, int]:
    return {
        "feature_hits": line.hits,
        "feature_misses": line.misses,
        "feature_ms_saved": round(line.seconds_saved * 1000),
    }


def failure(line: FailedLine) -> errors.JobFailure:
    known = {kind.code: kind for kind in errors.JobFailure.__subclasses__()}
    return known.get(line.code, errors.InternalError)(line.message)
