"""OpenVINO on the CPU: the folded network as a graph that begins with bytes, compiled for this processor.

Its features are the same to the bit whatever the batch, its company, and one or two threads (measured).
"""

import operator
import sys
from typing import Any, Final

import numpy as np
import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from services.contract.model import PREPROCESSING
from services.contract.recipe import Precision
from workers.vision.device import cores
from workers.vision.images import SIDE

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would tell its makers; OpenVINO does without
import openvino as ov  # noqa: E402
import openvino.opset13 as ops  # noqa: E402

TYPES: Final = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "fp16": ov.Type.f16}


class OpenVinoEngine:
    """When it is used, it raises NotImplementedError where the processor has no such arithmetic: OpenVINO would take
    another in silence."""

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        self._core, self._graph, self._type = ov.Core(), _graph(fuse(model)), TYPES[precision]
        self._options = {
            "INFERENCE_PRECISION_HINT": self._type,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,  # decoding threads share these cores
        }
        self._requests: dict[int, Any] = {}  # by the batch's size, of which few are ever asked

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) uint8 → (B, 512) float32."""
        lines = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())  # (B, 224, 224, 3); as they lie already
        if len(lines) not in self._requests:
            self._requests[len(lines)] = self._request(len(lines))
        found = self._requests[len(lines)].infer({0: ov.Tensor(lines, shared_memory=True)})
        return torch.from_numpy(found[0].astype(np.float32))

    def _request(self, batch: int) -> Any:
        self._graph.reshape([batch, SIDE, SIDE, 3])
        compiled = self._core.compile_model(self._graph, "CPU", self._options)
        taken = compiled.get_property("INFERENCE_PRECISION_HINT")
        if taken != self._type:
            raise NotImplementedError(f"OpenVINO would compute in {taken} here")
        return compiled.create_infer_request()


def _graph(fused: nn.Module) -> Any:
    """From (B, 224, 224, 3) u8 to (B, 512) f32."""
    assert isinstance(fused, fx.GraphModule)
    images = ops.parameter([-1, SIDE, SIDE, 3], ov.Type.u8)
    values: dict[fx.Node, Any] = {}
    for node in fused.graph.nodes:
        inputs = [values[each] for each in node.args if isinstance(each, fx.Node)]
        match node.op:
            case "placeholder":
                values[node] = _normalised(images)
            case "call_module":
                values[node] = _layer(fused.get_submodule(str(node.target)), *inputs)
            case "call_function":
                values[node] = ops.add(*inputs) if node.target is operator.add else _flat(*inputs)
            case "output":
                return ov.Model([*inputs], [images])
    raise TypeError("a network without an output")


def _normalised(images: Any) -> Any:
    """(B, 224, 224, 3) u8 → (B, 3, 224, 224) f32, as `images.normalised` does it."""
    planes = ops.convert(ops.transpose(images, np.array([0, 3, 1, 2])), "f32")
    mean, std = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (PREPROCESSING.mean, PREPROCESSING.std))
    return ops.divide(ops.subtract(ops.divide(planes, np.float32(255)), mean), std)


def _layer(layer: nn.Module, x: Any) -> Any:
    """One of those that a fused resnet18 has."""
    match layer:
        case nn.Conv2d(bias=torch.Tensor() as bias):
            pads = [*layer.padding]
            sums = ops.convolution(x, _constant(layer.weight), [*layer.stride], pads, pads, [*layer.dilation])
            return ops.add(sums, _constant(bias.reshape(1, -1, 1, 1)))
        case nn.MaxPool2d(kernel_size=int(side), stride=int(stride), padding=int(padding)):
            return ops.max_pool(x, [stride] * 2, [1, 1], [padding] * 2, [padding] * 2, [side] * 2).output(0)
        case nn.ReLU():
            return ops.relu(x)
        case nn.AdaptiveAvgPool2d():
            return ops.reduce_mean(x, np.array([2, 3]), keep_dims=True)
        case nn.Identity():
            return x
    raise TypeError(f"no resnet18 has a {type(layer).__name__}")


def _flat(x: Any, *_: Any) -> Any:
    """(B, 512, 1, 1) → (B, 512)."""
    return ops.reshape(x, np.array([0, -1]), special_zero=True)


def _constant(tensor: torch.Tensor) -> Any:
    """What `ops` makes of an array itself goes through a list of numbers."""
    return ov.op.Constant(tensor.numpy(force=True))
