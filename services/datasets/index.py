"""The index that an upload leaves: one line of JSON an image, in path order."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from services.contract.contents import Contents, Split
from services.contract.report import DataReport

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


def write_index(images: Iterable[IndexedImage], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(image) + "\n" for image in images)
        file.flush()
        os.fsync(file.fileno())


def write_report(report: DataReport, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(report.model_dump_json())
        file.flush()
        os.fsync(file.fileno())


def read_index(path: Path) -> Iterator[IndexedImage]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield IndexedImage(*json.loads(line))
