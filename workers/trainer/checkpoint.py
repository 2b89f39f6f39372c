"""A checkpoint: every trial's head with its momentum, the scaling, and where in the loop it was taken. No generator:
the order of an epoch is derived again from the seed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from services.contract.errors import InternalError
from services.contract.recipe import Hyperparameters
from workers.trainer.head import HeadStack, Scaler
from workers.trainer.state import Bucket, Position, Standing, TrainingState
from workers.vision.arrays import Floats
from workers.vision.heads import CHECKPOINT, Head, prefix

UNREADABLE = (OSError, SafetensorError, KeyError, ValueError)


class BucketHeader(BaseModel):
    batch_size: int
    trials: list[int]
    batch: int
    step: int


class Header(BaseModel):
    """All of a state that is no tensor."""

    epoch: int
    at: int
    buckets: list[BucketHeader]
    standings: list[Standing]
    kept_best: list[int]
    leader: int = 0  # the trial whose head it is of, for who asks the checkpoint what an image is


def packed(state: TrainingState, leader: int = 0) -> bytes:
    """As safetensors, with the header as metadata."""
    header = Header(
        epoch=state.epoch,
        at=state.at,
        buckets=[
            BucketHeader(batch_size=b.batch_size, trials=b.trials, batch=b.batch, step=b.step) for b in state.buckets
        ],
        standings=state.standings,
        kept_best=list(state.best),
        leader=leader,
    )
    return save(dict(_tensors(state)), metadata={CHECKPOINT: header.model_dump_json()})


def read(path: Path, trials: Sequence[Hyperparameters], class_weights: Floats | None = None) -> TrainingState:
    """The state of a job with these trials and weights as it was when `path` was written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it does not iterate)
            header = Header.model_validate_json(file.metadata()[CHECKPOINT])
        return _state(tensors, header, trials, class_weights)
    except UNREADABLE as error:
        raise InternalError(f"The checkpoint to resume from cannot be read ({type(error).__name__}).") from None


def position(path: Path) -> Position:
    """Where the loop stood, without the tensors."""
    try:
        with safe_open(path, "pt") as file:
            header = Header.model_validate_json(file.metadata()[CHECKPOINT])
    except UNREADABLE:
        return Position()  # reading the whole of it says what is wrong
    return Position(header.epoch, min((b.batch * b.batch_size for b in header.buckets), default=0))


# --- the tensors ---------------------------------------------------------------------------------------------------


def _tensors(state: TrainingState) -> Iterator[tuple[str, torch.Tensor]]:
    """fc.weight (C, 512), fc.bias (C,), momentum.fc.*, best.fc.*; those of a sweep under trial.N."""

    def of(trial: int, kind: str, head: Head) -> Iterator[tuple[str, torch.Tensor]]:
        name = prefix(trial, kind, len(state.standings))
        yield f"{name}.weight", torch.from_numpy(head.weight)
        yield f"{name}.bias", torch.from_numpy(head.bias).contiguous()

    for bucket in state.buckets:
        for place, trial in enumerate(bucket.trials):
            yield from of(trial, "", bucket.stack.head(place))
            yield from of(trial, "momentum.", bucket.stack.momentum(place))
    for trial, head in state.best.items():
        yield from of(trial, "best.", head)
    yield "scaling.mean", state.scaler.mean
    yield "scaling.std", state.scaler.std


def _state(
    tensors: Mapping[str, torch.Tensor],
    header: Header,
    trials: Sequence[Hyperparameters],
    class_weights: Floats | None,
) -> TrainingState:
    def head(trial: int, kind: str) -> Head:
        name = prefix(trial, kind, len(trials))
        return Head(tensors[f"{name}.weight"].numpy(), tensors[f"{name}.bias"].numpy())

    def bucket(of: BucketHeader) -> Bucket:
        heads, momenta = [head(t, "") for t in of.trials], [head(t, "momentum.") for t in of.trials]
        stack = HeadStack(heads, momenta, [trials[t] for t in of.trials], class_weights)
        return Bucket(of.batch_size, of.trials, stack, of.batch, of.step)

    return TrainingState(
        scaler=Scaler(tensors["scaling.mean"], tensors["scaling.std"]),
        buckets=[bucket(of) for of in header.buckets],
        standings=header.standings,
        best={trial: head(trial, "best.") for trial in header.kept_best},
        epoch=header.epoch,
        at=header.at,
    )
