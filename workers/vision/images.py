"""From an image's bytes to the pixels that the backbone sees: torchvision's transforms on what a viewer shows.

Most photographs are plain JPEGs: simplejpeg and torch decode and resize them three times as fast, with the
interpreter's lock released, and at most one level of 255 apart. For features that are computed in less than fp32, large
ones are decoded at a DCT scale. Whatever they do not serve, and whatever is wrong, is Pillow's to say.
"""

import hashlib
import io
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.contract.model import PREPROCESSING
from services.pictures.bounds import MAX_PIXELS, Unreadable, in_words, refuse_large
from services.pictures.shown import RULES, Notes, lacks_its_end, orientation_of, shown, with_its_end, without_metadata
from workers.vision import decoder

SECONDS = 20  # of a core that a rare format may take: some 100 times what MAX_PIXELS of BMP do
SCALED_SIDE = 512  # pixels: a JPEG that is decoded smaller has a short side of no less than this
# Pillow's pixels; within one level of them; of JPEGs at a DCT scale; of plain JPEGs by `gpu_decoder`.
Decoding = Literal["exact", "near", "scaled", "gpu"]
MOST_ROOM = 64 * 1024**2  # bytes that a thread keeps to decode into
PHOTOS = Path(__file__).parent / "photos"  # by which preflight judges
CANARIES = Path(__file__).parent / "canaries"

SIDE = PREPROCESSING.crop

_of_thread = threading.local()


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


@dataclass(frozen=True)
class PlainJpeg:
    """A JPEG about which nothing is odd."""

    content: bytes
    orientation: int
    pixels: int


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """By its header."""
    with suppress(Exception), Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        pixels = image.width * image.height
        if image.mode in ("RGB", "L") and pixels <= MAX_PIXELS and not lacks_its_end(content):
            return PlainJpeg(content, orientation_of(image), pixels)
    return None


@cache
def preprocess(decoding: Decoding, decoder: str = "") -> str:
    """Part of the features' key, as other pixels are other features: the rules, and what becomes of a few pictures.
    `decoder`: by what else plain JPEGs are decoded."""
    digest = hashlib.sha256()
    for path in sorted(CANARIES.iterdir()):
        digest.update(pixels(path.read_bytes()).numpy().tobytes())
    rules = f"rules {RULES}, simplejpeg {simplejpeg.__version__}, canaries {digest.hexdigest()[:16]}"
    scaled = {"scaled": f"; JPEGs at a DCT scale, {SCALED_SIDE}", "gpu": f"; plain JPEGs by {decoder}"}.get(
        decoding, ""
    )
    return f"{PREPROCESSING!r}; pixels by {rules}{scaled}"


def photographs() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]


def pixels(content: bytes) -> torch.Tensor:
    """(3, 224, 224) uint8, resized and cropped. Raises Unreadable."""
    return read(content)[0]


def read(content: bytes, decoding: Decoding = "near") -> tuple[torch.Tensor, Notes]:
    """Its pixels, and what should be said of it. Raises Unreadable."""
    try:
        return _read(content, decoding)
    except UnidentifiedImageError:
        if again := _read_again(content):
            return again
        image, notes = decoder.decoded(content, SECONDS)
        return _from_image(image), notes
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
    mean, std = (
        torch.tensor(each, device=pixels.device)[:, None, None] for each in (PREPROCESSING.mean, PREPROCESSING.std)
    )
    return (pixels.float() / 255).sub_(mean).div_(std)


def _read(content: bytes, decoding: Decoding = "near") -> tuple[torch.Tensor, Notes]:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:  # reads the header only
        is_jpeg, whole = image.format != "PNG", image.size
        if is_jpeg and image.width * image.height > MAX_PIXELS and "progressive" not in image.info:
            _draft(image)  # a progressive one is held whole at any scale, 6 bytes a pixel
        refuse_large(image)
        cut = ["cut"] if is_jpeg and lacks_its_end(content) else []
        if is_jpeg and decoding != "exact" and image.mode in ("RGB", "L") and image.size == whole:
            with suppress(ValueError):  # Pillow has the last word
                return _from_jpeg(content, orientation_of(image), scaled=decoding == "scaled"), cut
        upright, notes = shown(image)
        return _from_image(upright), cut + notes


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
    shrink = min(image.size) / SCALED_SIDE
    image.draft("RGB", (round(image.width / shrink), round(image.height / shrink)))


def _from_jpeg(content: bytes, orientation: int, *, scaled: bool) -> torch.Tensor:
    """(3, SIDE, SIDE) uint8. Raises ValueError where anything about it is odd."""
    least = {"min_height": SCALED_SIDE, "min_width": SCALED_SIDE, "min_factor": 2} if scaled else {}
    height, width, *_ = simplejpeg.decode_jpeg_header(content, **least)
    decoded = simplejpeg.decode_jpeg(content, buffer=_room(3 * height * width), **least)
    return fitted(torch.from_numpy(decoded).permute(2, 0, 1), orientation)  # channels last


def fitted(image: torch.Tensor, orientation: int) -> torch.Tensor:
    """(3, height, width) as it was taken → (3, SIDE, SIDE), in bytes or in floats as it came."""
    upright = TENSOR_TURNS[orientation](image) if orientation in TENSOR_TURNS else image
    width, height = _resized(upright.shape[2], upright.shape[1])
    resized = F.interpolate(upright[None], (height, width), mode="bilinear", antialias=True)[0]
    left, top = _margins(width, height)
    return resized[:, top : top + SIDE, left : left + SIDE]


def _room(size: int) -> NDArray[np.uint8]:
    """Of this thread, for the next picture: to fault in fresh pages for each takes a tenth of its time."""
    if size > MOST_ROOM:
        return np.empty(size, np.uint8)
    room: NDArray[np.uint8] | None = getattr(_of_thread, "room", None)
    if room is None or room.size < size:
        room = _of_thread.room = np.empty(size, np.uint8)
    return room


def _from_image(image: Image.Image) -> torch.Tensor:
    """(3, SIDE, SIDE) uint8, of an upright one in RGB."""
    size = _resized(*image.size)
    left, top = _margins(*size)
    cropped = image.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + SIDE, top + SIDE))
    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1)


def _resized(width: int, height: int) -> tuple[int, int]:
    """The short side becomes PREPROCESSING.resize, the long one keeps the shape."""
    short = min(width, height)
    return PREPROCESSING.resize * width // short, PREPROCESSING.resize * height // short


def _margins(width: int, height: int) -> tuple[int, int]:
    """Left of the square that is cut from the middle, and above it."""
    return round((width - SIDE) / 2), round((height - SIDE) / 2)
