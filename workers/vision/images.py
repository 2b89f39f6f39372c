"""From an image's bytes to the pixels that the backbone sees: torchvision's own transforms on what a viewer shows.

Most photographs are plain JPEGs: torchvision decodes and resizes them three times as fast, with the interpreter's lock
released, and at most one level of 255 apart. Whatever it does not serve, and whatever is wrong, is Pillow's to say.
"""

import hashlib
import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import torch
from PIL import Image, UnidentifiedImageError
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.models import ResNet18_Weights
from torchvision.transforms import functional as plain
from torchvision.transforms.v2 import functional as F

from workers.vision import decoder
from workers.vision.decoder import MAX_PIXELS, Unreadable, in_words, refuse_large
from workers.vision.shown import RULES, Notes, lacks_its_end, orientation_of, shown, with_its_end, without_metadata

PixelsOrImage = TypeVar("PixelsOrImage", torch.Tensor, Image.Image)

SECONDS = 20  # of a core that a rare format may take: some 100 times what MAX_PIXELS of BMP do
DRAFTED_SIDE = 512  # pixels: a JPEG over the cap is decoded smaller, its short side no less than this
CANARIES = Path(__file__).parent / "canaries"

# Its successor, TorchCodec, is a further dependency; once torchvision drops the decoder, it is that or Pillow alone.
warnings.filterwarnings("ignore", "The image decoding and encoding capabilities of TorchVision", DeprecationWarning)

TRANSFORMS = ResNet18_Weights.DEFAULT.transforms()
SIDE = int(TRANSFORMS.crop_size[0])

# (3, height, width) as a viewer that obeys the orientation shows it.
TENSOR_TURNS: Final[dict[int, Callable[[torch.Tensor], torch.Tensor]]] = {
    2: lambda image: image.flip(2),
    3: lambda image: image.flip(1, 2),
    4: lambda image: image.flip(1),
    5: lambda image: image.transpose(1, 2),
    6: lambda image: image.transpose(1, 2).flip(2),
    7: lambda image: image.transpose(1, 2).flip(1, 2),
    8: lambda image: image.transpose(1, 2).flip(1),
}


@cache
def preprocess() -> str:
    """Part of the features' key, as other pixels are other features: the rules, and what becomes of a few pictures."""
    digest = hashlib.sha256()
    for path in sorted(CANARIES.iterdir()):
        digest.update(pixels(path.read_bytes()).numpy().tobytes())
    return f"{TRANSFORMS!r}; pixels by rules {RULES}, canaries {digest.hexdigest()[:16]}"


def pixels(content: bytes) -> torch.Tensor:
    """(3, 224, 224) uint8, resized and cropped. Raises Unreadable."""
    return read(content)[0]


def read(content: bytes, *, exact: bool = False) -> tuple[torch.Tensor, Notes]:
    """Its pixels, and what should be said of it; `exact` ones are Pillow's, whatever that costs. Raises Unreadable."""
    try:
        return _read(content, exact=exact)
    except UnidentifiedImageError:
        if again := _read_again(content):
            return again
        image, notes = decoder.decoded(content, SECONDS)
        return _as_tensor(_cropped(image)), notes
    except (Unreadable, MemoryError):
        raise  # a moment without memory says nothing of the image
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        again = _read_again(content)
        if again is None:
            raise Unreadable(in_words(error)) from None
        return again


def pixels_of(content: bytes) -> int:
    """How many a JPEG or PNG says that it has; 0 of what is neither: that has a process of its own, with limits."""
    with suppress(Exception), Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
        return image.width * image.height
    return 0


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, 224, 224) uint8 → float32, as the last two of the transforms do it, on whatever device."""
    floats: torch.Tensor = plain.normalize(plain.convert_image_dtype(pixels), TRANSFORMS.mean, TRANSFORMS.std)
    return floats


def _read(content: bytes, *, exact: bool = False) -> tuple[torch.Tensor, Notes]:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:  # reads the header only
        is_jpeg, whole = image.format != "PNG", image.size
        if is_jpeg and image.width * image.height > MAX_PIXELS:
            _draft(image)
        refuse_large(image)
        cut = ["cut"] if is_jpeg and lacks_its_end(content) else []
        if is_jpeg and not exact and image.mode in ("RGB", "L") and image.size == whole:
            with suppress(RuntimeError):  # Pillow has the last word
                return _cropped(_decoded_jpeg(content, orientation_of(image))), cut
        upright, notes = shown(image)
        return _as_tensor(_cropped(upright)), cut + notes


def _read_again(content: bytes) -> tuple[torch.Tensor, Notes] | None:
    """Without what is broken about it, where the picture itself is there."""
    with suppress(Exception):  # it is damaged: what was said of it first stands
        if content.startswith(b"\x89PNG"):
            with suppress(Exception):
                return _read(without_metadata(content, but=b"eXIf"))
            return _read(without_metadata(content))
        if content.startswith(b"\xff\xd8") and (whole := with_its_end(content)):
            found, notes = _read(whole)
            return found, ["cut", *notes]
    return None


def _draft(image: Image.Image) -> None:
    """To be decoded at a half, a quarter or an eighth."""
    shrink = min(image.size) / DRAFTED_SIDE
    image.draft("RGB", (round(image.width / shrink), round(image.height / shrink)))


def _decoded_jpeg(content: bytes, orientation: int) -> torch.Tensor:
    """(3, height, width) uint8, upright. Pillow reads the orientation, as torchvision sees but the first APP1."""
    encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    image: torch.Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=False)
    return TENSOR_TURNS[orientation](image) if orientation in TENSOR_TURNS else image


def _cropped(image: PixelsOrImage) -> PixelsOrImage:
    resized = F.resize(image, TRANSFORMS.resize_size, interpolation=TRANSFORMS.interpolation, antialias=True)
    cropped: PixelsOrImage = F.center_crop(resized, TRANSFORMS.crop_size)
    return cropped


def _as_tensor(image: Image.Image) -> torch.Tensor:
    """(3, height, width) uint8."""
    tensor: torch.Tensor = F.pil_to_tensor(image)
    return tensor
