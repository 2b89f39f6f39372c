"""The frozen backbone: a resnet18 whose parameters never change, with its head taken off."""

import copy
import hashlib
import socket
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from services.contract.errors import WeightsUnavailable
from services.contract.recipe import Precision
from services.contract.spec import Prepared
from services.contract.timing import UNSCALED, TrainerTiming
from services.contract.weights import AnyWeights, DefaultWeights, RandomWeights, WeightsFile
from workers.vision.device import open_device
from workers.vision.engines import Extractor
from workers.vision.images import SIDE
from workers.vision.resnet import ResNet18

DIM = 512  # features an image: what resnet18's `fc` is given

PRETRAINED = "resnet18-f37072fd.pth"  # torchvision's `ResNet18_Weights.DEFAULT`, as torch.hub keeps it

HOW_TO_PROVIDE = (
    f"Let the worker reach the internet once, or put the file on it and set HEADWAY_WEIGHTS=/path/to/{PRETRAINED}, "
    'or, to try things out without them, submit with "weights": "random:0".'
)


class Backbone:
    """The frozen network on its device: `network` as it was loaded, for the export, and `extract` as it is fastest.

    Raises DeviceUnavailable, WeightsUnavailable.
    """

    def __init__(self, prepared: Prepared, timing: TrainerTiming = UNSCALED) -> None:
        self.prepared = prepared
        self.device = open_device(prepared.device)
        self.network = load(prepared.weights, timing)
        self.sha256 = weights_sha256(self.network)

    @cached_property
    def extract(self) -> Extractor:
        """Made when it is first needed: a job on known images never does."""
        return Extractor(self.network, self.device, self.prepared.precision, self.prepared.engine)

    def at(self, precision: Precision) -> "Backbone":
        """The same network at another precision: by torch, as preflight chose its engine for this one."""
        other = copy.copy(self)
        other.prepared = self.prepared.model_copy(update={"precision": precision, "engine": "torch"})
        vars(other).pop("extract", None)
        return other

    def warm_up(self, batch: int) -> None:
        """Libraries choose their kernels in the first pass of a shape."""
        self.extract(torch.zeros(batch, 3, SIDE, SIDE, dtype=torch.uint8))


def load(weights: AnyWeights, timing: TrainerTiming = UNSCALED) -> nn.Module:
    """resnet18 with these weights (torchvision's by its own download and hash check): frozen, in eval, and with its
    head taken off, so that it maps (B, 3, 224, 224) → (B, 512).

    Raises WeightsUnavailable, and never puts random weights in the place of others.
    """
    model = _random(weights.seed) if isinstance(weights, RandomWeights) else _pretrained(weights, timing)
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


def _random(seed: int) -> ResNet18:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet18()


def _pretrained(weights: DefaultWeights | WeightsFile, timing: TrainerTiming) -> ResNet18:
    model = ResNet18()
    is_file = isinstance(weights, WeightsFile)
    try:
        model.load_state_dict(_local(weights.path) if isinstance(weights, WeightsFile) else _kept_or_downloaded(timing))
    except Exception as error:  # whatever a download, a pickle or a state dict may raise
        where = "from the file in HEADWAY_WEIGHTS" if is_file else "from torchvision"
        reason = type(error).__name__ if is_file or not str(error) else str(error).splitlines()[0]
        raise WeightsUnavailable(
            f"The pretrained weights could not be had {where} ({reason}). {HOW_TO_PROVIDE}"
        ) from None
    return model


def _kept_or_downloaded(timing: TrainerTiming) -> dict[str, torch.Tensor]:
    kept = Path(torch.hub.get_dir(), "checkpoints", PRETRAINED)
    if not kept.is_file():
        return _downloaded(timing)
    with kept.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(kept.stem.rpartition("-")[2]):  # torch.hub looks at what it downloads only
        raise ValueError(f"{kept} is not what its name says: delete it")
    return _local(kept)


def _downloaded(timing: TrainerTiming) -> dict[str, torch.Tensor]:
    from torchvision.models import ResNet18_Weights  # seconds, which nobody else need wait

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timing.download)  # torch.hub sets none
    try:
        return dict(ResNet18_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True))
    finally:
        socket.setdefaulttimeout(before)


def _local(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, map_location="cpu", weights_only=True))
