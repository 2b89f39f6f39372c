"""What a trainer's lines become: events for those who listen, points of the series, counts."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from services.contract.events import Level, NewEvent
from services.contract.lines import MetricsLine, PhaseLine, Steps, Validation
from services.contract.progress import FeatureUsage, Progress
from services.store.events import Point
from services.store.totals import Count


def event(
    level: Level,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    type: Literal["message", "metrics"] = "message",
) -> NewEvent:
    return NewEvent(created_at=int(time.time()), level=level, type=type, message=message, data=dict(data or {}))


def of_phase(line: PhaseLine) -> NewEvent:
    data = line.progress.model_dump(exclude_none=True)
    if line.message:
        return event("info", line.message, data)
    return event("info", _phase_message(line.progress), data, type="metrics")


def of_helpers(count: int) -> NewEvent:
    who = {0: "No other worker helps", 1: "1 other worker helps"}.get(count, f"{count} other workers help")
    return event("info", f"{who} to compute the features.", {"helpers": count})


def _phase_message(progress: Progress) -> str:
    if progress.phase == "features":
        return f"Features: {progress.images} of {progress.total_images} images"
    return progress.phase.capitalize()


def of_metrics(line: MetricsLine, steps: Sequence[Steps], validated: Sequence[Validation], *, sweep: bool) -> NewEvent:
    """`steps` and `validated` are what of the line is new."""
    values = _values(steps, validated)
    data = line.progress.model_dump(exclude_none=True) | (_of_sweep(line, values) if sweep else values[0])
    return event("info", _metrics_message(line, sweep=sweep), data, type="metrics")


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


def feature_counts(usage: FeatureUsage) -> dict[Count, int]:
    return {
        Count.FEATURE_HITS: usage.hits,
        Count.FEATURE_MISSES: usage.misses,
        Count.FEATURE_MS_SAVED: round(usage.seconds_saved * 1000),
    }
