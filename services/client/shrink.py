"""Photographs made small before they are sent: the backbone sees 224 × 224 pixels of them, whatever they weigh."""

import io
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Final

from PIL import Image, ImageOps

from services.client.folder import names_in
from services.datasets.pictures import HEAD, format_of

SIDE: Final = 512  # pixels of the short side that are left: twice what the backbone's transforms resize to
QUALITY: Final = 92
FROM: Final = 100 * 1000**2  # bytes of a folder, from which on its photographs are shrunk unless that is unwanted
FORMATS: Final = frozenset({"jpeg", "heic", "png", "webp"})
MODES: Final = frozenset({"RGB", "L"})  # what is transparent, or has 16 bits, goes as it is

with suppress(ImportError):  # it comes with what a worker needs; without it HEIC goes as it is
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)


def weight(folder: Path) -> int:
    """Bytes of its files."""
    return sum((folder / name).stat().st_size for name in names_in(folder))


def packed_small(folder: Path, into: IO[bytes], tell: Callable[[int, int], None]) -> None:
    """As a zip, each photograph with a short side of SIDE at most. `tell`: files so far, of how many."""
    names = names_in(folder)
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for done, (name, content) in enumerate(_made_small(folder, names), 1):
            archive.writestr(name, content)
            tell(done, len(names))


def _made_small(folder: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """In order; a few at a time on each core."""
    waiting, rest = deque[Future[tuple[str, bytes]]](), iter(names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting.extend(pool.submit(small, folder, name) for name in islice(rest, 4 * (os.cpu_count() or 1)))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(small, folder, name) for name in islice(rest, 1))


def small(folder: Path, name: str) -> tuple[str, bytes]:
    """The file as it is sent: a photograph upright and small, as a JPEG; anything else as it is."""
    content = (folder / name).read_bytes()
    kind = format_of(content[:HEAD])
    if kind not in FORMATS:
        return name, content
    with suppress(Exception):  # what cannot be read goes as it is: the service says why
        return _photograph(name, content, kind)
    return name, content


def _photograph(name: str, content: bytes, kind: str) -> tuple[str, bytes]:
    with Image.open(io.BytesIO(content)) as image:
        is_large = min(image.size) > SIDE
        if image.mode not in MODES or getattr(image, "is_animated", False) or not (is_large or kind == "heic"):
            return name, content
        shrink = max(1.0, min(image.size) / SIDE)
        image.draft(image.mode, (round(image.width / shrink), round(image.height / shrink)))
        upright = ImageOps.exif_transpose(image)
    if min(upright.size) > SIDE:
        scale = SIDE / min(upright.size)
        size = round(upright.width * scale), round(upright.height * scale)
        upright = upright.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    made = io.BytesIO()
    upright.convert("RGB").save(made, "jpeg", quality=QUALITY)
    suffix = "" if kind == "jpeg" else ".jpg"  # beside its own, so that no two names become one
    return str(PurePosixPath(name + suffix)), made.getvalue()
