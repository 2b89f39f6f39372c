"""What a job leaves: the bare head, and the whole model for plain torchvision.

Both are made in memory and then written: where a disk is full, torch and safetensors say so with errors of their own.
"""

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from services.contract.recipe import Export


def export(
    folded: nn.Linear, backbone: nn.Module, labels: list[str], formats: list[Export], out: Path
) -> dict[Export, str]:
    """Files in `out` by format: always "safetensors" (fc.weight (C, 512), fc.bias (C,)), and "pt" where asked for."""
    files: dict[Export, str] = {"safetensors": "head.safetensors"}
    tensors = {f"fc.{name}": tensor.contiguous() for name, tensor in folded.state_dict().items()}
    (out / files["safetensors"]).write_bytes(save(tensors, metadata={"labels": json.dumps(labels)}))
    if "pt" in formats:
        files["pt"] = "model.pt"
        model = io.BytesIO()
        torch.save(whole(folded, backbone), model)
        (out / files["pt"]).write_bytes(model.getbuffer())
    return files


def whole(folded: nn.Linear, backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of `resnet18(num_classes=C)` with the frozen backbone, as it was loaded, and the trained head."""
    state: dict[str, torch.Tensor] = backbone.state_dict()
    return state | {f"fc.{name}": tensor for name, tensor in folded.state_dict().items()}
