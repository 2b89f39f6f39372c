"""What a job leaves: the bare head, and the whole model, for plain torchvision or to stand alone.

What torch and safetensors make is made in memory and then written: where a disk is full, they say so with errors of
their own. zipfile says it as the system does.
"""

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save

from services.contract.model import Receipt
from services.contract.recipe import Export
from workers.trainer import bundle
from workers.trainer.trained import Trained


def export(trained: Trained, out: Path) -> dict[Export, str]:
    """Files in `out` by format: always "safetensors" (fc.weight (C, 512), fc.bias (C,)), and those asked for."""
    formats = trained.receipt.export
    files: dict[Export, str] = {"safetensors": "head.safetensors"}
    (out / files["safetensors"]).write_bytes(_head(trained))
    if "pt" in formats:
        files["pt"] = "model.pt"
        model = io.BytesIO()
        torch.save(whole(trained), model)
        (out / files["pt"]).write_bytes(model.getbuffer())
    if "onnx" in formats or "zip" in formats:
        files |= _alone(trained, out)
    return files


def whole(trained: Trained) -> dict[str, torch.Tensor]:
    """The state dict of `resnet18(num_classes=C)` with the frozen backbone, as it was loaded, and the trained head."""
    state: dict[str, torch.Tensor] = trained.network.state_dict()
    return state | {f"fc.{name}": tensor for name, tensor in trained.head.state_dict().items()}


def _head(trained: Trained) -> bytes:
    tensors = {f"fc.{name}": tensor.contiguous() for name, tensor in trained.head.state_dict().items()}
    return _in_order(save(tensors, metadata={"labels": json.dumps(trained.labels), **_about(trained.receipt)}))


def _in_order(content: bytes) -> bytes:
    """The same tensors, and their metadata sorted: safetensors writes these in whatever order."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[start:]


def _about(receipt: Receipt) -> dict[str, str]:
    """What must be known to use the weights as they were trained."""
    return {"weights_sha256": receipt.weights_sha256, "preprocess": receipt.preprocess}


def _alone(trained: Trained, out: Path) -> dict[Export, str]:
    """The graph, the archive around it, or both."""
    from workers.trainer import onnxfile  # a tenth of a second, which only these jobs spend

    formats, about = trained.receipt.export, _about(trained.receipt)
    graph = onnxfile.model_bytes(trained.network, trained.head, trained.labels, trained.temperature, about)
    files: dict[Export, str] = {}
    if "onnx" in formats:
        files["onnx"] = "model.onnx"
        (out / files["onnx"]).write_bytes(graph)
    if "zip" in formats:
        files["zip"] = "model.zip"
        bundle.write(out / files["zip"], graph, trained)
    return files
