"""Which pictures are decoded at all, and what a process that decodes them may take."""

import math
import resource
import time
from typing import Final

from PIL import Image

FORMATS: Final = ("WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "HEIF")  # beside JPEG and PNG
MAX_PIXELS: Final = 100_000_000  # an image is decoded whole, three bytes a pixel: 30,000 × 30,000 would take 2.7 GB
MAX_ASPECT: Final = 300  # its short side becomes 256: of a strip 1 × 24,000 the other would have six million
MEMORY: Final = 3 * 1024**3  # bytes of address space: MAX_PIXELS in four channels, and copies

Image.MAX_IMAGE_PIXELS = None  # our own cap stands instead of Pillow's warning


class Unreadable(Exception):
    """The bytes are no image that we can decode; the message says why."""


def refuse_large(image: Image.Image) -> None:
    size = f"{image.width} × {image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"{size} are more than {MAX_PIXELS}")
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise Unreadable(f"{size}: one side is more than {MAX_ASPECT} times the other")


def in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:120]}"


def limit_memory(most: int = MEMORY) -> None:
    """Of this process: bytes of address space."""
    _limit(resource.RLIMIT_AS, most)


def limit_time(seconds: int) -> None:
    """This process ends once it has taken so many more of a core."""
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
