"""A head's numbers, and how they lie in safetensors: as a model, or as a checkpoint of one or many trials."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import nn

from workers.vision.arrays import Floats
from workers.vision.backbone import DIM

CHECKPOINT: Final = "headway"  # in the metadata of a checkpoint: all of it that is no tensor, as JSON


class HeadUnreadable(Exception):
    """Its bytes hold no head."""


@dataclass(frozen=True)
class Head:
    """A head's numbers: weight (C, 512), bias (C,)."""

    weight: Floats
    bias: Floats

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.weight).all() and np.isfinite(self.bias).all())

    def copy(self) -> "Head":
        return Head(self.weight.copy(), self.bias.copy())

    def layer(self) -> nn.Linear:
        layer = nn.Linear(DIM, len(self.bias))
        layer.load_state_dict({"weight": torch.from_numpy(self.weight), "bias": torch.from_numpy(self.bias)})
        return layer

    def unscaled(self, mean: np.ndarray[Any, Any], std: np.ndarray[Any, Any]) -> "Head":
        """The head that gives on raw features what this one gives on (features − mean) / std; both (512,) float64."""
        weight = self.weight.astype(np.float64) / std  # (C, 512)
        bias = self.bias.astype(np.float64) - weight @ mean  # (C,)
        return Head(weight.astype(np.float32), bias.astype(np.float32))


def read_head(content: bytes) -> Head:
    """On raw features, of a model's safetensors or of a checkpoint's: there that of the trial which led. Raises
    HeadUnreadable."""
    try:
        tensors, header = load(content), _metadata(content).get(CHECKPOINT)
        if header is None:
            return _checked(Head(tensors["fc.weight"], tensors["fc.bias"]))
        known = json.loads(header)
        found = _of_trial(tensors, known.get("leader", 0), len(known["standings"]))
        return _checked(found.unscaled(tensors["scaling.mean"], tensors["scaling.std"]))
    except (SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise HeadUnreadable(f"{type(error).__name__}: {error}") from None


def prefix(trial: int, kind: str, trials: int) -> str:
    """Of a checkpoint's tensors: `kind` is "", "momentum." or "best."; those of a sweep stand under trial.N."""
    return f"{kind}fc" if trials == 1 else f"trial.{trial}.{kind}fc"


def _of_trial(tensors: Mapping[str, Floats], trial: int, trials: int) -> Head:
    """Its head as it stood; where it had stopped, its best."""
    name = prefix(trial, "", trials)
    if f"{name}.weight" not in tensors:
        name = prefix(trial, "best.", trials)
    return Head(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _checked(head: Head) -> Head:
    if head.weight.shape != (len(head.bias), DIM):
        raise ValueError(f"a head of {head.weight.shape} and {head.bias.shape}")
    if not head.is_finite:
        raise ValueError("not all of its numbers are finite")
    return head


def _metadata(content: bytes) -> dict[str, str]:
    """safetensors' header: its length in eight bytes, then JSON."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    return found
