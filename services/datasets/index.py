"""The index that an upload leaves: one line of JSON an image, in path order; and the bytes that it points to."""

import hashlib
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from services.contract.contents import Contents, Split
from services.contract.errors import DataUnreadable, FilesAway
from services.contract.report import DataReport
from services.located import Ranges, Where, opened, written

NEAR: Final = 4096  # bytes of an index that are read line by line
PIECE: Final = 64 * 1024  # bytes of an index that are asked for while a line is looked for
STORED, DEFLATED = 0, 8  # zip's numbers for how an image's bytes lie in the archive


class IndexedImage(NamedTuple):
    """One image: where its bytes lie and what they are. `sha256` is that of the image's own bytes."""

    path: str
    label: str
    split: Split
    offset: int
    stored: int  # bytes in the archive
    size: int  # bytes of the image
    method: int  # STORED or DEFLATED
    sha256: str


def contents_of(images: Iterable[IndexedImage], *, ignored: int = 0, splits_left_out: Sequence[Split] = ()) -> Contents:
    counts: dict[Split, Counter[str]] = {}
    for image in images:
        counts.setdefault(image.split, Counter())[image.label] += 1
    labels: dict[Split, dict[str, int]] = {split: dict(sorted(c.items())) for split, c in sorted(counts.items())}
    total = sum(c.total() for c in counts.values())
    return Contents(images=total, labels=labels, ignored=ignored, splits_left_out=list(splits_left_out))


def write_index(images: Iterable[IndexedImage], path: Where) -> None:
    with written(path) as file:
        for image in images:
            file.write(json.dumps(image).encode() + b"\n")


def write_report(report: DataReport, path: Where) -> None:
    with written(path) as file:
        file.write(report.model_dump_json().encode())


def read_index(path: Where) -> Iterator[IndexedImage]:
    with io.TextIOWrapper(opened(path), encoding="utf-8") as file:
        for line in file:
            yield IndexedImage(*json.loads(line))


def images_from(path: Where, after: str) -> Iterator[IndexedImage]:
    """Those whose paths come after `after`."""
    return (image for image in _lines_near(path, after) if image.path > after)


def image_at(path: Where, wanted: str) -> IndexedImage | None:
    """The one that is called so in the archive."""
    for image in _lines_near(path, wanted):
        if image.path >= wanted:
            return image if image.path == wanted else None
    return None


def _lines_near(path: Where, wanted: str) -> Iterator[IndexedImage]:
    """From a little before where `wanted` stands, or would; found by halving, as an index may have a million lines."""
    with opened(path, PIECE) as file:
        low, high = 0, file.seek(0, os.SEEK_END)  # no line before `low` comes after `wanted`
        while high - low > NEAR:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline()  # the rest of one
            start, line = file.tell(), file.readline()
            if start < high and IndexedImage(*json.loads(line)).path <= wanted:
                low = start
            else:
                high = middle
        file.seek(low)
        for line in file:
            yield IndexedImage(*json.loads(line))


class Archive:
    """The upload's bytes, opened once and read at any place."""

    def __init__(self, path: Where) -> None:
        self.where = str(path)
        try:
            self._bytes = Ranges(path)
        except FilesAway:
            raise
        except OSError as error:
            raise DataUnreadable(f"The training data cannot be opened: {error.strerror}.") from None

    @property
    def is_remote(self) -> bool:
        """Then a read takes long, and many at a time take no longer."""
        return self._bytes.is_remote

    def close(self) -> None:
        self._bytes.close()

    def read(self, image: IndexedImage) -> bytes:
        """The image's own bytes. Raises DataUnreadable where they are no longer those of the upload; FilesAway."""
        try:
            content = self._bytes.read(image.offset, image.stored)
            if image.method == DEFLATED:
                content = zlib.decompress(content, wbits=-zlib.MAX_WBITS)
        except FilesAway:
            raise
        except (zlib.error, OSError):
            content = b""
        if hashlib.sha256(content).hexdigest() != image.sha256:
            raise DataUnreadable(f"{image.path} is not what was uploaded: the stored file was changed or damaged.")
        return content
