"""An upload, listed: which of its files are images, with which label and split, and what its owner should know."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from services.contract.contents import Contents
from services.contract.errors import InvalidArchive
from services.contract.layout import GUESSED, Layout
from services.contract.report import DataReport
from services.datasets.archives import read_archive
from services.datasets.entries import ArchiveEntry, ArchiveTree
from services.datasets.index import IndexedImage, contents_of
from services.datasets.messages import is_json_lines, tar_of_messages
from services.datasets.names import normal
from services.datasets.pictures import ARCHIVES, is_junk, is_picture, suffix_of
from services.datasets.reading import JUNK, NO_PICTURE, PlacedImage, Reading
from services.datasets.report import report_of
from services.datasets.tables import read_names, read_tables, tables_of
from services.datasets.tars import is_plain_tar
from services.datasets.tree import EXAMPLE, grown, read_tree
from services.located import Where

MAX_LABELS = 10_000
MAX_LABEL = 256  # bytes of a label's name


@dataclass(frozen=True)
class Listing:
    """`data` is the file to read images from: the upload itself, or the plain tar made of it."""

    data: Where
    images: list[IndexedImage]
    contents: Contents
    report: DataReport


def list_upload(path: Where, layout: Layout = GUESSED) -> Listing:
    """Raises InvalidArchive; makes `path` + ".tar" of a tar.gz and of JSON lines."""
    if is_json_lines(path) and not is_plain_tar(path):
        if layout != GUESSED:
            raise InvalidArchive("layout: JSON lines of messages state each label: leave it out")
        plain, labels = tar_of_messages(path)
        return _listed(read_archive(plain), lambda archive, reading: _by_message(archive, labels, reading))
    return list_tree(read_archive(path), layout)


def list_tree(archive: ArchiveTree, layout: Layout) -> Listing:
    """Raises InvalidArchive."""
    return _listed(archive, lambda archive, reading: read(archive, layout, reading))


def read(archive: ArchiveTree, layout: Layout, reading: Reading) -> None:
    """What the archive's files mean. Raises InvalidArchive."""
    if not archive.entries:
        raise InvalidArchive("the archive is empty: it needs images in a folder for each label (label/image.png)")
    pictures, others = _sorted_out(archive, layout, reading)
    if not pictures:
        raise InvalidArchive(_no_pictures(others))
    if layout.pattern is not None:
        read_names(layout, pictures, reading)
    elif tables := tables_of(archive, layout, others):
        read_tables(tables, pictures, reading)
    else:
        read_tree(grown(pictures), layout, reading)


def _listed(archive: ArchiveTree, reads: Callable[[ArchiveTree, Reading], None]) -> Listing:
    reading = Reading()
    reads(archive, reading)
    _refuse_labels({image.label for image in reading.images})
    images = [_indexed(image) for image in sorted(reading.images, key=lambda image: image.entry.name)]
    left_out = sum(map(len, reading.left_out.values()))
    contents = contents_of(images, ignored=left_out, splits_left_out=reading.splits_left_out)
    return Listing(archive.data, images, contents, report_of(archive, reading, contents))


def _sorted_out(
    archive: ArchiveTree, layout: Layout, reading: Reading
) -> tuple[list[ArchiveEntry], list[ArchiveEntry]]:
    """Pictures, and what else is no junk."""
    pictures, others = [], []
    ignored = _ignored(archive, layout)
    for entry in archive.entries:
        if is_junk(entry.name):
            reading.leave_out(JUNK, [entry])
        elif entry.name in ignored:
            reading.leave_out("ignored, as the layout says", [entry])
        elif is_picture(entry.name, entry.head):
            pictures.append(entry)
        else:
            others.append(entry)
    reading.leave_out(NO_PICTURE, others)
    return pictures, others


def _ignored(archive: ArchiveTree, layout: Layout) -> set[str]:
    found: set[str] = set()
    paths = {entry.name: normal(entry.name) for entry in archive.entries} if layout.ignore else {}
    for place in map(normal, layout.ignore):
        names = {name for name, path in paths.items() if path == place or path.startswith(f"{place}/")}
        if not names:
            raise InvalidArchive(f"layout.ignore: the archive has no {place!r}")
        found |= names
    return found


def _no_pictures(others: list[ArchiveEntry]) -> str:
    if inner := [entry.name for entry in others if suffix_of(entry.name) in ARCHIVES]:
        return f"the archive holds archives, as {inner[0]!r}: unpack them, and pack their folders"
    kinds = sorted({suffix_of(entry.name) for entry in others} - {""})
    said = f" (it has {', '.join(kinds[:5])})" if kinds else ""
    return f"the archive has no labelled images{said}: {EXAMPLE}"


def _by_message(archive: ArchiveTree, labels: dict[str, str], reading: Reading) -> None:
    for entry in archive.entries:
        reading.place([entry], labels[entry.name], "train")


def _indexed(image: PlacedImage) -> IndexedImage:
    entry = image.entry
    where = entry.offset, entry.stored, entry.size, entry.method, entry.sha256
    return IndexedImage(entry.name, image.label, image.split, *where)


def _refuse_labels(labels: set[str]) -> None:
    if len(labels) > MAX_LABELS:
        raise InvalidArchive(f"the archive has {len(labels)} labels; {MAX_LABELS} is the most")
    for label in sorted(labels):
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in label) or not label:
            raise InvalidArchive(f"the label {label[:40]!r} has characters that are none of a name")
        if len(label.encode()) > MAX_LABEL:
            raise InvalidArchive(f"the label {label[:40]!r}… is longer than {MAX_LABEL} bytes")
