"""Engines: what computes the frozen network on a device. Preflight chooses among those that agree."""

import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from services.contract.errors import WeightsUnavailable
from services.contract.preflight import EngineName
from services.contract.recipe import Precision
from workers.vision.images import normalised

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(Protocol):
    """Pixels (B, 3, 224, 224) uint8 → features (B, 512) float32, both on the host."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor: ...


class TorchEngine:
    """Each BatchNorm is folded into its convolution (in fp32), activations lie channels last, and only bytes cross the
    bus. Within 1e-4 of the plain network in fp32."""

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision) -> None:
        self._device, self._dtype = device, DTYPES[precision]
        self._network = fuse(model).to(device, self._dtype).to(memory_format=torch.channels_last)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            images = normalised(pixels.to(self._device, non_blocking=True)).to(self._dtype)  # (B, 3, 224, 224)
            rows: torch.Tensor = self._network(images.contiguous(memory_format=torch.channels_last))  # (B, 512)
            rows = rows.float().cpu()
        return rows.clone()  # an ordinary tensor again


def _openvino(model: nn.Module, device: torch.device, precision: Precision) -> Engine:
    from workers.vision.openvino_engine import OpenVinoEngine  # only where it is used: a library of its own

    return OpenVinoEngine(model, precision)


ENGINES: dict[EngineName, Callable[[nn.Module, torch.device, Precision], Engine]] = {
    "openvino": _openvino,
    "torch": TorchEngine,
}


def candidates_on(device: torch.device) -> list[EngineName]:
    """Those that are installed, in the order in which they are preferred."""
    has_openvino = device.type == "cpu" and importlib.util.find_spec("openvino") is not None
    return ["openvino", "torch"] if has_openvino else ["torch"]


def major_version(engine: EngineName) -> str:
    """What the features' key holds of it: a minor one agrees with itself, as preflight sees at each start."""
    return version(engine).split(".")[0]


class Extractor:
    """The backbone as it is fastest: pixels (B, 3, 224, 224) uint8 → features (B, 512) float32, both on the host.

    Raises WeightsUnavailable where a feature is not finite.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, precision: Precision, engine: EngineName = "torch"
    ) -> None:
        self._where = f"{precision} on {device.type}"
        self._engine = ENGINES[engine](model, device, precision)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        rows = self._engine(pixels)
        self._refuse_infinite(rows)
        return rows

    def _refuse_infinite(self, rows: torch.Tensor) -> None:
        """Before they reach the cache: weights of one's own may overflow in fp16."""
        if not torch.isfinite(rows).all():
            raise WeightsUnavailable(
                f"With these weights features are not finite in {self._where}: "
                'ask for precision "fp32", or use other weights.'
            )
