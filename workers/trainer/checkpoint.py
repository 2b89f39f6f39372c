"""A checkpoint: the head with its momentum, the scaling, and where in the loop it was taken. No generator: the order
of an epoch is derived again from the seed."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from services.contract.errors import InternalError
from services.contract.events import CheckpointMetrics
from workers.trainer.head import Scaling


@dataclass(frozen=True)
class Place:
    """Where the loop stands: `batch` is the next one of `epoch` (from 0), `step` counts the steps taken."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    train_loss: float | None = None
    # of the best epoch so far, and how many came since
    best: CheckpointMetrics | None = None
    stale_epochs: int = 0
    stopped_early: bool = False
    # of the last epoch that was validated
    val_loss: float | None = None
    val_accuracy: float | None = None

    def moved(self, **changes: object) -> "Place":
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def metrics(self) -> CheckpointMetrics:
        return CheckpointMetrics(
            step=self.step,
            epoch=self.epoch,
            train_loss=self.train_loss,
            val_loss=self.val_loss,
            val_accuracy=self.val_accuracy,
        )


@dataclass
class State:
    """All that a resumed attempt needs. `best_head` is kept where the best head, not the last, becomes the model."""

    head: nn.Linear
    optimizer: torch.optim.SGD
    scaling: Scaling
    place: Place
    best_head: dict[str, torch.Tensor] | None = None


def write(state: State, path: Path) -> str:
    """The checkpoint's sha256."""
    tensors = {f"fc.{name}": tensor.detach() for name, tensor in state.head.named_parameters()}
    for name, parameter in state.head.named_parameters():
        momentum = state.optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.fc.{name}"] = momentum
    tensors |= {"scaling.mean": state.scaling.mean, "scaling.std": state.scaling.std}
    tensors |= {f"best.fc.{name}": tensor for name, tensor in (state.best_head or {}).items()}
    place = asdict(state.place) | {"best": state.place.best and state.place.best.model_dump()}
    content = save(tensors, metadata={"headway": json.dumps(place)})
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read(state: State, path: Path) -> State:
    """`state` as it was when `path` was written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it does not iterate)
            place = json.loads(file.metadata()["headway"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InternalError(f"The checkpoint to resume from cannot be read ({type(error).__name__}).") from None
    state.head.load_state_dict(_under("fc.", tensors))
    for name, parameter in state.head.named_parameters():
        if (momentum := tensors.get(f"momentum.fc.{name}")) is not None:
            state.optimizer.state[parameter]["momentum_buffer"] = momentum
    best = place.pop("best")
    return State(
        head=state.head,
        optimizer=state.optimizer,
        scaling=Scaling(tensors["scaling.mean"], tensors["scaling.std"]),
        place=Place(**place, best=CheckpointMetrics(**best) if best else None),
        best_head=_under("best.fc.", tensors) or None,
    )


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
