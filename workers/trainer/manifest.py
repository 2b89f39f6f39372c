"""The receipt of a job: everything to replay it."""

import hashlib
import platform
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import __version__ as pillow_version

from services import __version__
from services.contract.events import Trial
from services.contract.spec import TrainerSpec
from workers.trainer.backbone import Backbone
from workers.trainer.dataset import Dataset
from workers.trainer.device import describe
from workers.trainer.images import PREPROCESS


def receipt(spec: TrainerSpec, data: Dataset, backbone: Backbone, trials: list[Trial]) -> dict[str, Any]:
    return {
        "images": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "data_sha256": _data_sha256(data),
        "labels": spec.labels,
        "num_labels": spec.num_labels,
        "hyperparameters": next(trial for trial in trials if trial.leads).hyperparameters.model_dump(),
        "sweep": spec.sweep and spec.sweep.axes,
        "feature_scaling": spec.feature_scaling,
        "early_stopping": spec.early_stopping and spec.early_stopping.model_dump(),
        "split": spec.split,
        "seed": spec.seed,
        "weights": spec.weights if spec.weights.startswith("random:") or spec.weights == "torchvision" else "file",
        "weights_sha256": backbone.sha256,
        "preprocess": PREPROCESS,
        "precision": spec.precision,
        "device": {"name": spec.device, "model": describe(spec.device), "processor": platform.machine()},
        "head": {"device": "cpu", "path": "numpy", "threads": 1},
        "versions": {
            "headway": __version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
            "pillow": pillow_version,
            "python": platform.python_version(),
        },
    }


def _data_sha256(data: Dataset) -> str:
    """Of the images by split, label and content, in their order."""
    digest = hashlib.sha256()
    for split, examples in (("train", data.train), ("val", data.val), ("test", data.test)):
        for example in examples:
            digest.update(f"{split} {example.label} {example.image.sha256}\n".encode())
    return digest.hexdigest()
