"""The receipt of a job: everything to replay it."""

import hashlib
import platform
from importlib.metadata import version

import numpy as np
import simplejpeg
import torch
from PIL import __version__ as pillow_version

from services import __version__
from services.contract.model import ComputeDevice, ImageCounts, Receipt
from services.contract.recipe import Hyperparameters, ResolvedRecipe
from services.contract.spec import TrainerSpec
from services.contract.weights import WeightsFile
from workers.vision.backbone import Backbone
from workers.vision.dataset import Dataset
from workers.vision.decoding import preprocess
from workers.vision.device import describe


def receipt(spec: TrainerSpec, data: Dataset, backbone: Backbone, best: Hyperparameters) -> Receipt:
    """`best` are those of the trial that became the model."""
    recipe = spec.fields_of(ResolvedRecipe) | {"hyperparameters": best}
    return Receipt(
        **recipe,
        images=ImageCounts(train=len(data.train), val=len(data.val), test=len(data.test)),
        data_sha256=_data_sha256(data),
        weights="file" if isinstance(spec.weights, WeightsFile) else str(spec.weights),
        weights_sha256=backbone.sha256,
        preprocess=preprocess(spec.precision, torch.device(spec.device)),
        engine=spec.engine,
        fingerprint=spec.fingerprint,
        device=ComputeDevice(name=spec.device, model=describe(spec.device), processor=platform.machine()),
        versions={
            "headway": __version__,
            "torch": torch.__version__,
            spec.engine: version(spec.engine),
            "simplejpeg": simplejpeg.__version__,
            "numpy": np.__version__,
            "pillow": pillow_version,
            "python": platform.python_version(),
        },
    )


def _data_sha256(data: Dataset) -> str:
    """Of the images by split, label and content, in their order."""
    digest = hashlib.sha256()
    for split, examples in (("train", data.train), ("val", data.val), ("test", data.test)):
        for example in examples:
            digest.update(f"{split} {example.label} {example.image.sha256}\n".encode())
    return digest.hexdigest()
