"""The whole model as an ONNX graph that stands alone: from an image's pixels, whatever its size, to probabilities.

It is built node by node, as the network is small and known: torch's own exporter needs two more libraries, and knows
nothing of the pixels.
"""

import json
import operator
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from services import __version__
from services.contract.model import PREPROCESSING
from workers.vision.images import SIDE

OPSET: Final = 18  # the first whose Resize filters what it shrinks, as Pillow does
FUNCTIONS: Final = {operator.add: "Add", torch.flatten: "Flatten"}

Constant = NDArray[Any]


def model_bytes(
    network: nn.Module, folded: nn.Linear, labels: list[str], temperature: float, about: Mapping[str, str]
) -> bytes:
    """`network` maps (B, 3, 224, 224) → (B, 512), `folded` its features to C logits, one for each of `labels`.

    The graph takes `image`, (height, width, 3) uint8, upright and in RGB; it gives `logits` (C,) and `probabilities`
    (C,), their softmax at `temperature`. Equal weights give equal bytes.
    """
    draft = Draft(len(labels))
    features = _network(draft, network, _normalised(draft, _pixels(draft)))  # (1, 512)
    row = draft.add("Gemm", features, _array(folded.weight), _array(folded.bias), transB=1)  # (1, C)
    logits = draft.add("Squeeze", row, _integers(0), name="logits")
    cooled = draft.add("Div", logits, _floats(temperature))
    draft.add("Softmax", cooled, name="probabilities", axis=0)
    helper.set_model_props(draft.model, {"labels": json.dumps(labels), "temperature": repr(temperature), **about})
    content: bytes = draft.model.SerializeToString(deterministic=True)
    return content


class Draft:
    """A graph that grows, of C classes. Values go by their names."""

    def __init__(self, classes: int) -> None:
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [classes]) for name in ("logits", "probabilities")
        ]
        self.model = helper.make_model_gen_version(
            helper.make_graph([], "classifier", [image], outputs),
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="headway",
            producer_version=__version__,
        )

    def add(self, kind: str, *inputs: str | Constant, name: str | None = None, **attributes: Any) -> str:
        """The one value that it gives. An input that is left out is an empty name."""
        nodes = self.model.graph.node
        name = name or f"{kind.lower()}_{len(nodes)}"
        named = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        nodes.append(helper.make_node(kind, named, [name], **attributes))
        return name

    def _constant(self, value: Constant) -> str:
        """Put into the model at once: weights that lay in a list would be copied whole, twice."""
        constants = self.model.graph.initializer
        name = f"constant_{len(constants)}"
        constants.append(numpy_helper.from_array(value, name))
        return name


# --- from an image to what the network is given: PREPROCESSING, on Pillow's picture -----------------------------------


def _pixels(draft: Draft) -> str:
    """`pixels`, (1, 3, SIDE, SIDE) float32 of whole numbers from 0 to 255: resized and cropped."""
    planes = draft.add("Cast", draft.add("Transpose", "image", perm=[2, 0, 1]), to=TensorProto.FLOAT)
    size = _resized_size(draft)
    resized = draft.add(
        "Resize",
        draft.add("Unsqueeze", planes, _integers(0)),  # (1, 3, height, width)
        "",
        "",
        draft.add("Concat", _integers(1, 3), size, axis=0),
        mode="linear",
        antialias=1,
        coordinate_transformation_mode="half_pixel",
    )
    levels = draft.add("Clip", draft.add("Round", resized), _floats(0), _floats(255))  # Pillow's are bytes
    start = _crops_start(draft, size)
    end = draft.add("Add", start, _integers(SIDE))
    return draft.add("Slice", levels, start, end, _integers(2, 3), name="pixels")


def _resized_size(draft: Draft) -> str:
    """(2,) int64: the short side is PREPROCESSING.resize, the long one int(size * long / short)."""
    size = draft.add("Shape", "image", end=2)
    short = draft.add("ReduceMin", size)
    return draft.add("Div", draft.add("Mul", size, _integers(PREPROCESSING.resize)), short)


def _crops_start(draft: Draft, size: str) -> str:
    """(2,) int64: int(round((size - SIDE) / 2.0)), where Python and ONNX both round a half to the even number."""
    margin = draft.add("Cast", draft.add("Sub", size, _integers(SIDE)), to=TensorProto.FLOAT)
    half = draft.add("Round", draft.add("Div", margin, _floats(2)))
    return draft.add("Cast", half, to=TensorProto.INT64)


def _normalised(draft: Draft, pixels: str) -> str:
    shares = draft.add("Div", pixels, _floats(255))
    mean, std = (_floats(*each).reshape(1, 3, 1, 1) for each in (PREPROCESSING.mean, PREPROCESSING.std))
    return draft.add("Div", draft.add("Sub", shares, mean), std)


# --- the network -----------------------------------------------------------------------------------------------------


def _network(draft: Draft, network: nn.Module, images: str) -> str:
    """What it gives for `images`, (1, 3, SIDE, SIDE), each BatchNorm folded into its convolution."""
    fused = fuse(network)
    assert isinstance(fused, fx.GraphModule)
    values: dict[fx.Node, str] = {}
    for node in fused.graph.nodes:
        inputs = [values[each] for each in node.args if isinstance(each, fx.Node)]
        match node.op:
            case "placeholder":
                values[node] = images
            case "call_module":
                values[node] = _layer(draft, fused.get_submodule(str(node.target)), *inputs)
            case "call_function":
                values[node] = draft.add(FUNCTIONS[node.target], *inputs)
            case "output":
                (values[node],) = inputs
    return values[fused.graph.output_node()]


def _layer(draft: Draft, layer: nn.Module, x: str) -> str:
    """One of those that a fused resnet18 has."""
    match layer:
        case nn.Conv2d(bias=torch.Tensor() as bias):
            pads = [*layer.padding, *layer.padding]
            return draft.add("Conv", x, _array(layer.weight), _array(bias), strides=[*layer.stride], pads=pads)
        case nn.MaxPool2d(kernel_size=int(side), stride=int(stride), padding=int(padding)):
            return draft.add("MaxPool", x, kernel_shape=[side] * 2, strides=[stride] * 2, pads=[padding] * 4)
        case nn.ReLU():
            return draft.add("Relu", x)
        case nn.AdaptiveAvgPool2d():
            return draft.add("GlobalAveragePool", x)
        case nn.Identity():
            return x
    raise TypeError(f"no resnet18 has a {type(layer).__name__}")


def _array(tensor: torch.Tensor) -> Constant:
    array: Constant = tensor.numpy(force=True)
    return array


def _integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)
