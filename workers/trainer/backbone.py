"""The frozen backbone: a resnet18 whose parameters never change, with its head taken off."""

import hashlib
import socket
from pathlib import Path

import torch
from torch import nn
from torchvision.models import ResNet, ResNet18_Weights, resnet18

from services.contract.errors import WeightsUnavailable

DIM = 512  # features an image: what resnet18's `fc` is given

HOW_TO_PROVIDE = (
    "Let the worker reach the internet once, or put the file on it and set "
    "HEADWAY_WEIGHTS=/path/to/resnet18-f37072fd.pth, "
    'or, to try things out without them, submit with "weights": "random:0".'
)


def load(source: str) -> nn.Module:
    """resnet18 from "torchvision" (its own download and hash check), "random:N" or a path: frozen, in eval, and with
    its head taken off, so that it maps (B, 3, 224, 224) → (B, 512).

    Raises WeightsUnavailable, and never puts random weights in the place of others.
    """
    model: nn.Module = (
        _random(int(source.removeprefix("random:"))) if source.startswith("random:") else _pretrained(source)
    )
    model.fc = nn.Identity()
    model.requires_grad_(False)
    return model.eval()


def weights_sha256(model: nn.Module) -> str:
    """Of the backbone's tensors by name, so that equal weights are equal wherever they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _random(seed: int) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet18(weights=None)


def _pretrained(source: str) -> ResNet:
    model = resnet18(weights=None)
    try:
        model.load_state_dict(_downloaded() if source == "torchvision" else _local(Path(source)))
    except Exception as error:  # whatever a download, a pickle or a state dict may raise
        where = "from torchvision" if source == "torchvision" else "from the file in HEADWAY_WEIGHTS"
        reason = str(error).splitlines()[0] if str(error) and source == "torchvision" else type(error).__name__
        raise WeightsUnavailable(
            f"The pretrained weights could not be had {where} ({reason}). {HOW_TO_PROVIDE}"
        ) from None
    return model


def _downloaded() -> dict[str, torch.Tensor]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torch.hub sets none: a firewall that drops packets would hold the job for minutes
    try:
        return dict(ResNet18_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True))
    finally:
        socket.setdefaulttimeout(before)


def _local(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, map_location="cpu", weights_only=True))
