"""The ONNX graph against Pillow, torchvision and torch: pixels within one level, logits within 1e-3."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image, ImageDraw, ImageFilter
from torch import nn
from torchvision.models import ResNet18_Weights
from torchvision.transforms.v2 import functional as F

from services.contract.weights import RandomWeights
from workers.trainer import onnxfile
from workers.vision.backbone import load
from workers.vision.images import SIDE, normalised

LABELS = ["cat", "dog", "größer", "bird", "fish"]
TRANSFORMS = ResNet18_Weights.DEFAULT.transforms()
TEMPERATURE = 1.7
# Width and height: shrunk and enlarged; 343 leaves an odd margin around the crop, 511 a fraction of a pixel.
SIZES = [
    *((333, 500), (511, 333), (640, 480), (480, 640), (200, 150)),
    *((224, 224), (1000, 257), (343, 256), (3, 70), (1, 1)),
]

Answer = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Its statistics are no longer those that fold into nothing."""
    network = load(RandomWeights(0))
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                assert tensor is not None
                tensor += torch.rand(tensor.shape, generator=generator) / 4
    return network


@pytest.fixture(scope="module")
def head() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(512, len(LABELS)).requires_grad_(False)


@pytest.fixture(scope="module")
def content(network: nn.Module, head: nn.Linear) -> bytes:
    return onnxfile.model_bytes(network, head, LABELS, TEMPERATURE, {"weights_sha256": "f00"})


@pytest.fixture(scope="module")
def answer(content: bytes) -> Callable[[Image.Image], Answer]:
    """Of the graph: pixels, logits, probabilities."""
    model = onnx.load_from_string(content)
    model.graph.output.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIDE, SIDE]))
    session = onnxruntime.InferenceSession(model.SerializeToString())

    def answer(image: Image.Image) -> Answer:
        pixels, logits, probabilities = session.run(["pixels", "logits", "probabilities"], {"image": np.asarray(image)})
        return pixels, logits, probabilities

    return answer


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Blurred noise with sharp edges in it, out of a JPEG."""
    random = np.random.default_rng(seed)
    noise = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    image = noise.filter(ImageFilter.GaussianBlur(seed % 3))
    draw = ImageDraw.Draw(image)
    for x, y, *colour in random.integers(0, 256, (12, 5)).tolist():
        at = (x * width // 256, y * height // 256)
        draw.ellipse((*at, at[0] + width // 5, at[1] + height // 4), fill=tuple(colour))
    encoded = io.BytesIO()
    image.save(encoded, "jpeg", quality=90)
    return Image.open(encoded).convert("RGB")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_of_any_size_is_answered_as_torch_answers_it(
    network: nn.Module, head: nn.Linear, answer: Callable[[Image.Image], Answer], size: tuple[int, int]
) -> None:
    image = photograph(*size, seed=sum(size))
    pixels, logits, probabilities = answer(image)
    resized = F.resize(image, TRANSFORMS.resize_size, interpolation=TRANSFORMS.interpolation, antialias=True)
    wanted = F.pil_to_tensor(F.center_crop(resized, TRANSFORMS.crop_size)).numpy()
    assert np.abs(pixels[0] - wanted).max() <= 1

    with torch.inference_mode():
        plain = head(network(normalised(torch.from_numpy(pixels).to(torch.uint8))))[0]  # (C,)
    assert np.abs(logits - plain.numpy()).max() <= 1e-3
    assert logits.argmax() == plain.argmax()
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert probabilities == pytest.approx(torch.softmax(plain / TEMPERATURE, 0).numpy(), abs=1e-4)


def test_the_file_is_valid_onnx_and_says_what_it_is(network: nn.Module, head: nn.Linear, content: bytes) -> None:
    onnx.checker.check_model(content, full_check=True)
    model = onnx.load_from_string(content)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["labels"]) == LABELS
    assert float(about["temperature"]) == TEMPERATURE
    assert about["weights_sha256"] == "f00"
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    again = onnxfile.model_bytes(network, head, LABELS, TEMPERATURE, {"weights_sha256": "f00"})
    assert again == content
