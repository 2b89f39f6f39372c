"""What a viewer shows of a picture: upright, in eight bits a channel, on white. From Pillow's image; no torch.

Metadata never decide whether a picture can be read: where they are broken, it is read without them.
"""

import io
import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RULES: Final = 2  # of these pixels: other rules are other features

# What is said of a picture that was read all the same.
NOTES: Final = {
    "cut": "lack their end: what is there was read",
    "more_frames": "have more frames or pages: the first was read",
    "own_range": "have values beyond every usual range: scaled by their own",
    "transparent": "are transparent everywhere: their alpha was ignored",
    "twelve_bits": "seem to have 12 bits in 16 a channel, and are as dark as viewers show them",
}

Floats = NDArray[np.float64]
Notes = list[str]

TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION: Final = 0x0112  # EXIF 2.32, 4.6.4
KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})  # PNG's that show


def shown(image: Image.Image) -> tuple[Image.Image, Notes]:
    """Upright and in RGB, with what should be said of it. `image` was opened, and perhaps drafted."""
    from_sixteen = ";16" in str(getattr(image, "tile", ""))  # Pillow takes the high byte of a channel
    image.load()  # which turns a TIFF by itself
    orientation = orientation_of(image)
    rgb, notes = _in_rgb(image, from_sixteen=from_sixteen)
    return (rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb), notes


def orientation_of(image: Image.Image) -> int:
    """1 to 8, wherever EXIF or XMP stand in the file; 1 where they are broken."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises whatever it likes on damaged EXIF
        return 1
    return orientation if orientation in TURNS else 1


def without_metadata(png: bytes, *, but: bytes = b"") -> bytes:
    """A PNG's chunks that show, and those that are named: text beyond Pillow's limits and broken profiles cost no
    picture."""
    return png[:8] + b"".join(chunk for kind, chunk in _chunks(png) if kind in KEPT or kind == but)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at : at + 12 + length]
        at += 12 + length


# --- colours -------------------------------------------------------------------------------------------------------


def _in_rgb(image: Image.Image, *, from_sixteen: bool) -> tuple[Image.Image, Notes]:
    notes = ["more_frames"] if _has_more_frames(image) else []
    if image.mode.startswith("I") or image.mode == "F":
        levels, more = _eight_bits(np.asarray(image))
        return Image.fromarray(levels).convert("RGB"), notes + more
    if image.has_transparency_data:
        rgb, more = _on_white(image.convert("RGBA"))
        return rgb, notes + more
    rgb = image.convert("RGB")
    if from_sixteen and max(high for _, high in rgb.getextrema()) <= 15:  # type: ignore[misc]
        notes.append("twelve_bits")
    return rgb, notes


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False)) and image.format != "MPO"
    except Exception:  # of a second frame that is broken: the first is what counts
        return False


def _on_white(rgba: Image.Image) -> tuple[Image.Image, Notes]:
    if rgba.getchannel("A").getextrema() == (0, 0):
        return rgba.convert("RGB"), ["transparent"]
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB"), []


def _eight_bits(values: NDArray[np.generic]) -> tuple[NDArray[np.uint8], Notes]:
    """(h, w) of whatever numbers → (h, w) uint8: integers by the bits that they take, floats by the first range that
    holds them."""
    floats = values.astype(np.float64)
    finite = floats[np.isfinite(floats)]
    if not len(finite):
        raise ValueError("no value of it is finite")
    least, most = float(finite.min()), float(finite.max())
    floats = np.nan_to_num(floats, nan=least, posinf=most, neginf=least)
    scaled, notes = _scaled(floats, least, most, integers=np.issubdtype(values.dtype, np.integer))
    return np.rint(scaled).clip(0, 255).astype(np.uint8), notes


def _scaled(floats: Floats, least: float, most: float, *, integers: bool) -> tuple[Floats, Notes]:
    if integers and least >= 0:
        if most <= 255:
            return floats, []
        if most <= 4095:
            return np.floor(floats / 16), []
        if most <= 65535:
            return floats / 257, []
    for low, high in ((0, 1), (-1, 1), (0, 255), (0, 65535)):
        if low <= least and most <= high:
            return (floats - low) / (high - low) * 255, []
    if most == least:
        return np.full_like(floats, 128), ["own_range"]
    return (floats - least) / (most - least) * 255, ["own_range"]


# --- a JPEG that was cut -------------------------------------------------------------------------------------------

PROGRESSIVE: Final = b"\xff\xc2"
SCAN: Final = b"\xff\xda"
END: Final = b"\xff\xd9"
PADDING: Final = b"\x55" * 64  # entropy-coded bytes of nothing


def lacks_its_end(jpeg: bytes) -> bool:
    """Behind its last scan; what some cameras put behind the end does not count."""
    return jpeg.find(END, jpeg.rfind(SCAN)) < 0


def with_its_end(jpeg: bytes) -> bytes | None:
    """A JPEG that lacks no more than its end, made whole; None where rows of the picture are missing.

    A decoder fills up what is missing in silence, so it is made to: two continuations give the same rows where all of
    them are there.
    """
    if PROGRESSIVE in jpeg:
        return None  # a scan that is missing shows everywhere
    whole = jpeg + END
    plain, padded = (np.asarray(_decoded(content)) for content in (whole, jpeg + PADDING + END))
    if plain.shape != padded.shape:
        return None
    height = len(plain)
    differ = np.flatnonzero((plain != padded).reshape(height, -1).any(axis=1))
    return whole if len(differ) == 0 or differ[0] >= height - max(16, height // 50) else None


def _decoded(jpeg: bytes) -> Image.Image:
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return image.convert("RGB")
