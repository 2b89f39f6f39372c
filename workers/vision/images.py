"""From an image's bytes to the pixels that the backbone sees: those of torchvision's own transforms on Pillow's image.

Most photographs are plain JPEGs: torchvision decodes and resizes them three times as fast, with the interpreter's lock
released, and at most one level of 255 apart. Whatever it does not serve, and whatever is wrong, is Pillow's to say.
"""

import io
import warnings
from contextlib import suppress
from typing import TypeVar

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.models import ResNet18_Weights
from torchvision.transforms import functional as plain
from torchvision.transforms.v2 import functional as F

from workers.vision import decoder
from workers.vision.decoder import Unreadable, in_words, refuse_large

PixelsOrImage = TypeVar("PixelsOrImage", torch.Tensor, Image.Image)

SECONDS = 20  # of a core that a rare format may take: some 100 times what MAX_PIXELS of BMP do

# Its successor, TorchCodec, is a further dependency; once torchvision drops the decoder, it is that or Pillow alone.
warnings.filterwarnings("ignore", "The image decoding and encoding capabilities of TorchVision", DeprecationWarning)

TRANSFORMS = ResNet18_Weights.DEFAULT.transforms()
SIDE = int(TRANSFORMS.crop_size[0])
PREPROCESS = f"{TRANSFORMS!r}; JPEG by torchvision"  # part of the features' key: other pixels are other features


def pixels(content: bytes) -> torch.Tensor:
    """(3, 224, 224) uint8, resized and cropped. Raises Unreadable."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:  # reads the header only
            refuse_large(image)
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                with suppress(RuntimeError):  # Pillow has the last word
                    return _cropped(_decoded_jpeg(content))
            return _as_tensor(_cropped(ImageOps.exif_transpose(image).convert("RGB")))
    except UnidentifiedImageError:
        return _as_tensor(_cropped(decoder.decoded(content, SECONDS)))
    except (Unreadable, MemoryError):
        raise  # a moment without memory says nothing of the image
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        raise Unreadable(in_words(error)) from None


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, 224, 224) uint8 → float32, as the last two of the transforms do it, on whatever device."""
    floats: torch.Tensor = plain.normalize(plain.convert_image_dtype(pixels), TRANSFORMS.mean, TRANSFORMS.std)
    return floats


def _decoded_jpeg(content: bytes) -> torch.Tensor:
    """(3, height, width) uint8, turned as its EXIF says."""
    encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    image: torch.Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    return image


def _cropped(image: PixelsOrImage) -> PixelsOrImage:
    resized = F.resize(image, TRANSFORMS.resize_size, interpolation=TRANSFORMS.interpolation, antialias=True)
    cropped: PixelsOrImage = F.center_crop(resized, TRANSFORMS.crop_size)
    return cropped


def _as_tensor(image: Image.Image) -> torch.Tensor:
    """(3, height, width) uint8."""
    tensor: torch.Tensor = F.pil_to_tensor(image)
    return tensor
