"""Reading what a trainer said."""

from pathlib import Path
from typing import Any

from services.contract.spec import TrainerSpec


def losses(lines: list[Any]) -> list[tuple[int, float]]:
    packs = [pack for line in lines if line.type == "metrics" for pack in line.steps]
    return [pair for pack in packs for pair in zip(pack.step, pack.train_loss[0], strict=True)]


def validations(lines: list[Any]) -> list[float]:
    return [one.val_accuracy for line in lines if line.type == "metrics" for one in line.validations]


def failure(lines: list[Any]) -> Any:
    assert lines[-1].type == "failed", lines[-1]
    return lines[-1]


def from_checkpoint(spec: TrainerSpec, stop: Any) -> TrainerSpec:
    return spec.model_copy(update={"resume": str(Path(spec.out) / stop.path), "next_checkpoint": stop.number + 1})


def trial_losses(lines: list[Any]) -> dict[tuple[int, int], float]:
    return {
        (trial, step): loss
        for line in lines
        if line.type == "metrics"
        for pack in line.steps
        for trial, series in zip(pack.trials, pack.train_loss, strict=True)
        for step, loss in zip(pack.step, series, strict=True)
    }


def leader(lines: list[Any]) -> Any:
    """Where the trial stood in the end whose head is the model."""
    return next(
        trial for trial in reversed([t for line in lines if line.type == "metrics" for t in line.trials]) if trial.leads
    )
