"""From an image's bytes to the pixels that the backbone sees: Pillow, and torchvision's own transforms."""

import io

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.models import ResNet18_Weights

MAX_PIXELS = 100_000_000  # an image is decoded whole, three bytes a pixel; a 30,000 × 30,000 one would take 2.7 GB

Image.MAX_IMAGE_PIXELS = None  # our own cap stands instead of Pillow's warning

TRANSFORMS = ResNet18_Weights.DEFAULT.transforms()
PREPROCESS = repr(TRANSFORMS)  # part of the features' key: other pixels are other features


class Unreadable(Exception):
    """The bytes are no image that we can decode; the message says why."""


def pixels(content: bytes) -> torch.Tensor:
    """(3, 224, 224) float32, resized, cropped and normalised. Raises Unreadable."""
    image: torch.Tensor = TRANSFORMS(decode(content))
    return image


def decode(content: bytes) -> Image.Image:
    """An RGB image, turned as its EXIF says. Raises Unreadable."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(f"{image.width} × {image.height} pixels are more than {MAX_PIXELS}")
            return ImageOps.exif_transpose(image).convert("RGB")
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("no image format that is known") from None
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise Unreadable(f"{type(error).__name__}: {str(error)[:120]}") from None
