"""What a job leaves: the bare head, and the whole model for plain torchvision."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet, resnet18

from services.contract.spec import Export


def export(
    folded: nn.Linear, backbone: nn.Module, labels: list[str], formats: list[Export], out: Path
) -> dict[str, str]:
    """Files in `out` by format: always "safetensors" (fc.weight (C, 512), fc.bias (C,)), and "pt" where asked for."""
    files = {"safetensors": "head.safetensors"}
    tensors = {f"fc.{name}": tensor.contiguous() for name, tensor in folded.state_dict().items()}
    save_file(tensors, out / files["safetensors"], metadata={"labels": json.dumps(labels)})
    if "pt" in formats:
        files["pt"] = "model.pt"
        torch.save(whole(folded, backbone).state_dict(), out / files["pt"])
    return files


def whole(folded: nn.Linear, backbone: nn.Module) -> ResNet:
    """`resnet18(num_classes=C)` with the frozen backbone and the trained head."""
    model: ResNet = resnet18(num_classes=folded.out_features)
    state = {name: tensor.cpu() for name, tensor in backbone.state_dict().items()}
    model.load_state_dict(state | {f"fc.{name}": tensor for name, tensor in folded.state_dict().items()})
    model.eval()
    return model
