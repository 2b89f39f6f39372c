"""Plain JPEGs decoded on a CUDA device by torchcodec (nvJPEG), many in one call: they are resized there, and never come
back. Everything else is the host's, and so is whatever nvJPEG refuses.

Below fp32 only: its pixels are a few levels of 255 from Pillow's. Where torchcodec is not installed, does not load or
is further off than that, the host decodes as ever. **This has not been run on a GPU**; the tests run it with
torchcodec's decoder for the CPU.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version

import torch

from services.contract.recipe import Precision
from services.pictures.bounds import Unreadable
from workers.vision import images
from workers.vision.images import SIDE, PlainJpeg

DEVICE = torch.device("cuda")
MOST_PIXELS = 200_000_000  # of a call: 0.6 GB on the device
MOST_APART = 2.0  # levels of 255 from Pillow's pixels, on the mean
EXIF = re.compile(rb"\xff\xe1(..Exif\0\0)", re.DOTALL)  # torchcodec would obey it, and how to turn is ours to judge


@cache
def is_used(device: torch.device, precision: Precision) -> bool:
    return device.type == DEVICE.type and precision != "fp32" and _agrees(device)


def name() -> str:
    """For the features' key."""
    return f"torchcodec {version('torchcodec')} on {DEVICE.type}"


def filled(
    slot: torch.Tensor, left: Mapping[int, PlainJpeg], device: torch.device
) -> tuple[torch.Tensor, dict[int, str]]:
    """`slot` (B, 3, 224, 224) uint8 on the device, with the rows that were left to it; and why some cannot be read."""
    pixels, unreadable = slot.to(device, non_blocking=True), dict[int, str]()
    if pixels is slot:
        pixels = slot.clone()  # it is filled anew while the engine works
    for rows in _calls(left):
        for row, image in zip(rows, _decoded([left[row] for row in rows], device), strict=True):
            try:
                pixels[row] = images.read(left[row].content, "scaled")[0].to(device) if image is None else image
            except Unreadable as error:
                pixels[row], unreadable[row] = 0, str(error)
    return pixels, unreadable


def _calls(left: Mapping[int, PlainJpeg]) -> Iterator[list[int]]:
    """Rows that are decoded together, none of them too large for all."""
    rows: list[int] = []
    room = MOST_PIXELS
    for row, jpeg in left.items():
        if rows and jpeg.pixels > room:
            yield rows
            rows, room = [], MOST_PIXELS
        rows.append(row)
        room -= jpeg.pixels
    if rows:
        yield rows


def _decoded(jpegs: Sequence[PlainJpeg], device: torch.device) -> list[torch.Tensor | None]:
    """(3, 224, 224) uint8 each; None for those that are refused, which cost the others their call."""
    from torchcodec import decoders  # only where it is used: a library of its own

    contents = [EXIF.sub(b"\xff\xef\\1", jpeg.content) for jpeg in jpegs]
    with suppress(RuntimeError):  # of nvJPEG, or of a device without memory
        whole = decoders.decode_jpeg(contents, mode="RGB", device=device)
        return [_fitted(image, jpeg.orientation) for image, jpeg in zip(whole, jpegs, strict=True)]
    return [None] if len(jpegs) == 1 else [_decoded([jpeg], device)[0] for jpeg in jpegs]


def _fitted(image: torch.Tensor, orientation: int) -> torch.Tensor:
    """In floats, as CUDA has no such resize of bytes."""
    return images.fitted(image.float(), orientation).round().clamp(0, 255).to(torch.uint8)


def photos(device: torch.device) -> torch.Tensor:
    """Preflight's, (8, 3, 224, 224) uint8, as they are decoded here."""
    found = dict(enumerate(map(images.plain_jpeg, images.photographs())))
    plain = {row: jpeg for row, jpeg in found.items() if jpeg is not None}
    return filled(torch.zeros(len(found), 3, SIDE, SIDE, dtype=torch.uint8), plain, device)[0].cpu()


def _agrees(device: torch.device) -> bool:
    try:
        expected = torch.stack(list(map(images.pixels, images.photographs())))
        return (photos(device).float() - expected.float()).abs().mean().item() <= MOST_APART
    except Exception:  # whatever a library raises that is not installed, or a device that has none of it
        return False
