"""An upload, listed: once, as it ends."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from services.contract.errors import InvalidArchive
from services.datasets.archives import read_entries
from services.datasets.index import IndexedImage
from services.datasets.layout import SUFFIXES, images_of

MAX_LABELS = 10_000
MAX_LABEL = 256  # bytes of a label's name


@dataclass(frozen=True)
class Listing:
    """`data` is the file to read images from: the upload itself, or the plain tar made of a tar.gz."""

    data: Path
    images: list[IndexedImage]
    ignored: int


def list_archive(path: Path) -> Listing:
    """Raises InvalidArchive; makes `path` + ".tar" of a tar.gz."""
    data, entries = read_entries(path)
    if not entries:
        raise InvalidArchive("the archive is empty: it needs images in a folder for each label (label/image.png)")
    images, ignored = images_of(entries)
    _refuse_labels({image.label for image in images})
    if not any(PurePosixPath(image.path).suffix.lower() in SUFFIXES for image in images):
        raise InvalidArchive(
            "the archive has no labelled images: put those of each label into a folder of its name (label/image.png)"
        )
    return Listing(data, images, ignored)


def _refuse_labels(labels: set[str]) -> None:
    if len(labels) > MAX_LABELS:
        raise InvalidArchive(f"the archive has {len(labels)} labels; {MAX_LABELS} is the most")
    for label in sorted(labels):
        if len(label.encode()) > MAX_LABEL:
            raise InvalidArchive(f"the label {label[:40]!r}… is longer than {MAX_LABEL} bytes")
