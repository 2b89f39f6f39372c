"""A checkpoint: every trial's head with its momentum, the scaling, and where in the loop it was taken. No generator:
the order of an epoch is derived again from the seed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from services.contract.errors import InternalError
from services.contract.events import CheckpointMetrics, Trial, TrialStatus
from services.contract.spec import Hyperparameters
from workers.trainer.head import Head, Scaling, Stack


@dataclass
class Standing:
    """Where a trial stands: its own epochs and steps."""

    status: TrialStatus = "training"
    epoch: int = 0
    step: int = 0
    train_loss: float | None = None
    # of the last epoch that was validated
    val_loss: float | None = None
    val_accuracy: float | None = None
    # of the best epoch so far, and how many came since
    best: CheckpointMetrics | None = None
    stale_epochs: int = 0

    @property
    def metrics(self) -> CheckpointMetrics:
        return CheckpointMetrics(
            step=self.step,
            epoch=self.epoch,
            train_loss=self.train_loss,
            val_loss=self.val_loss,
            val_accuracy=self.val_accuracy,
        )

    def told(self, trial: int, hyperparameters: Hyperparameters, *, leads: bool) -> Trial:
        return Trial(
            trial=trial,
            hyperparameters=hyperparameters,
            status=self.status,
            leads=leads,
            metrics=self.metrics,
            best=self.best,
        )


@dataclass
class Bucket:
    """The trials of one batch size that still train: they see the same batches. `trials[i]` has head i of the stack."""

    batch_size: int
    trials: list[int]
    stack: Stack
    batch: int = 0  # the next one of the running epoch
    step: int = 0  # steps taken


@dataclass
class State:
    """All that a resumed attempt needs. `best` holds heads where the best one, not the last, becomes the model."""

    scaling: Scaling
    buckets: list[Bucket]
    standings: list[Standing]  # by trial
    best: dict[int, Head] = field(default_factory=dict)
    epoch: int = 0  # the running one, from 0
    at: int = 0  # steps of all buckets together

    def copy(self) -> "State":
        """As it is now, whatever becomes of it."""
        return replace(
            self,
            buckets=[replace(b, trials=list(b.trials), stack=b.stack.only(range(len(b.stack)))) for b in self.buckets],
            standings=[replace(standing) for standing in self.standings],
            best=dict(self.best),
        )

    def head(self, trial: int) -> Head:
        """Its best head where that one is kept, else its last."""
        if trial in self.best:
            return self.best[trial]
        return next(b.stack.head(b.trials.index(trial)) for b in self.buckets if trial in b.trials)


@dataclass(frozen=True)
class Place:
    """Where the loop stands: `position` counts the images of the running epoch that are behind every bucket."""

    epoch: int = 0
    position: int = 0


def fresh(first: nn.Linear, trials: Sequence[Hyperparameters], scaling: Scaling) -> State:
    """The state before step 1: each trial has the first head."""
    head = Head(first.weight.detach().numpy(), first.bias.detach().numpy())
    still = Head(np.zeros_like(head.weight), np.zeros_like(head.bias))
    by_size: dict[int, list[int]] = {}
    for trial, hp in enumerate(trials):
        by_size.setdefault(hp.batch_size, []).append(trial)
    buckets = [
        Bucket(size, members, Stack([head] * len(members), [still] * len(members), [trials[t] for t in members]))
        for size, members in by_size.items()
    ]
    return State(scaling, buckets, [Standing() for _ in trials])


def packed(state: State) -> bytes:
    """As safetensors, with the place as metadata."""
    return save(dict(_tensors(state)), metadata={"headway": json.dumps(_place(state))})


def read(path: Path, trials: Sequence[Hyperparameters]) -> State:
    """The state of a job with these trials as it was when `path` was written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it does not iterate)
            place = json.loads(file.metadata()["headway"])
        return _state(tensors, place, trials)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InternalError(f"The checkpoint to resume from cannot be read ({type(error).__name__}).") from None


def place(path: Path) -> Place:
    """Where the loop stood, without the tensors."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["headway"])
        return Place(told["epoch"], min((b["batch"] * b["batch_size"] for b in told["buckets"]), default=0))
    except (OSError, SafetensorError, KeyError, ValueError):
        return Place()  # reading the whole of it says what is wrong


# --- as tensors and JSON -------------------------------------------------------------------------------------------


def _tensors(state: State) -> Iterator[tuple[str, torch.Tensor]]:
    """fc.weight (C, 512), fc.bias (C,), momentum.fc.*, best.fc.*; those of a sweep under trial.N."""

    def of(trial: int, kind: str, head: Head) -> Iterator[tuple[str, torch.Tensor]]:
        prefix = _prefix(trial, kind, len(state.standings))
        yield f"{prefix}.weight", torch.from_numpy(head.weight)
        yield f"{prefix}.bias", torch.from_numpy(head.bias).contiguous()

    for bucket in state.buckets:
        for place, trial in enumerate(bucket.trials):
            yield from of(trial, "", bucket.stack.head(place))
            yield from of(trial, "momentum.", bucket.stack.momentum(place))
    for trial, head in state.best.items():
        yield from of(trial, "best.", head)
    yield "scaling.mean", state.scaling.mean
    yield "scaling.std", state.scaling.std


def _place(state: State) -> dict[str, Any]:
    counted = ("batch_size", "trials", "batch", "step")
    return {
        "epoch": state.epoch,
        "at": state.at,
        "buckets": [{name: getattr(bucket, name) for name in counted} for bucket in state.buckets],
        "standings": [asdict(s) | {"best": s.best and s.best.model_dump()} for s in state.standings],
        "kept_best": list(state.best),
    }


def _state(tensors: Mapping[str, torch.Tensor], place: dict[str, Any], trials: Sequence[Hyperparameters]) -> State:
    def head(trial: int, kind: str) -> Head:
        prefix = _prefix(trial, kind, len(trials))
        return Head(tensors[f"{prefix}.weight"].numpy(), tensors[f"{prefix}.bias"].numpy())

    def bucket(told: dict[str, Any]) -> Bucket:
        members = told["trials"]
        heads, momenta = [head(t, "") for t in members], [head(t, "momentum.") for t in members]
        stack = Stack(heads, momenta, [trials[t] for t in members])
        return Bucket(told["batch_size"], members, stack, told["batch"], told["step"])

    return State(
        scaling=Scaling(tensors["scaling.mean"], tensors["scaling.std"]),
        buckets=[bucket(told) for told in place["buckets"]],
        standings=[_standing(told) for told in place["standings"]],
        best={t: head(t, "best.") for t in place["kept_best"]},
        epoch=place["epoch"],
        at=place["at"],
    )


def _standing(told: dict[str, Any]) -> Standing:
    return Standing(**told | {"best": CheckpointMetrics(**told["best"]) if told["best"] else None})


def _prefix(trial: int, kind: str, trials: int) -> str:
    return f"{kind}fc" if trials == 1 else f"trial.{trial}.{kind}fc"
