"""What a file holds: the index that an upload leaves, one line of JSON an image, in path order."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel

Split = Literal["train", "val", "test"]

STORED, DEFLATED = 0, 8  # zip's numbers for how an image's bytes lie in the archive


class Image(NamedTuple):
    """One image: where its bytes lie and what they are. `sha256` is that of the image's own bytes."""

    path: str
    label: str
    split: Split
    offset: int
    stored: int  # bytes in the archive
    size: int  # bytes of the image
    method: int  # STORED or DEFLATED
    sha256: str


class Contents(BaseModel):
    """The index in short, kept in the file's record: `labels[split][label]` is a count of images."""

    images: int
    labels: dict[Split, dict[str, int]]
    ignored: int = 0

    def of(self, split: Split) -> dict[str, int]:
        return self.labels.get(split, {})


def contents(images: Iterable[Image], ignored: int) -> Contents:
    counts: dict[Split, Counter[str]] = {}
    for image in images:
        counts.setdefault(image.split, Counter())[image.label] += 1
    labels: dict[Split, dict[str, int]] = {split: dict(sorted(c.items())) for split, c in sorted(counts.items())}
    return Contents(images=sum(c.total() for c in counts.values()), labels=labels, ignored=ignored)


def write_index(images: Iterable[Image], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(image) + "\n" for image in images)
        file.flush()
        os.fsync(file.fileno())


def read_index(path: Path) -> Iterator[Image]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Image(*json.loads(line))
