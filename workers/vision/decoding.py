"""How pictures are decoded whose features are computed on a device in a precision."""

import torch

from services.contract.recipe import Precision
from workers.vision import gpu_decoder, images
from workers.vision.images import Decoding


def decoding_for(precision: Precision, device: torch.device) -> Decoding:
    """What a scale or another decoder changes is less than what a precision below fp32 does."""
    if precision == "fp32":
        return "near"
    return "gpu" if gpu_decoder.is_used(device, precision) else "scaled"


def preprocess(precision: Precision, device: torch.device) -> str:
    """Part of the features' key."""
    decoding = decoding_for(precision, device)
    return images.preprocess(decoding, gpu_decoder.name() if decoding == "gpu" else "")
