"""A folder of pictures on this machine: gathered, read as the service will read it, packed."""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from services.contract.layout import Layout
from services.datasets.entries import ArchiveEntry, ArchiveTree
from services.datasets.index import STORED
from services.datasets.listing import Listing, list_tree
from services.datasets.pictures import HEAD, is_junk


class FolderError(Exception):
    """What is wrong with the folder, as a sentence."""


@dataclass(frozen=True)
class FolderTree(ArchiveTree):
    """`data` is the folder; entries are read from where they lie."""

    def read(self, entry: ArchiveEntry) -> bytes:
        return (Path(self.data) / entry.name).read_bytes()


def understood(folder: Path, layout: Layout) -> Listing:
    """As the service will read it, but for what only contents tell. Raises InvalidArchive, FolderError, OSError."""
    entries = [_entry(folder, name) for name in names_in(folder)]
    return list_tree(FolderTree(folder, entries, []), layout)


def packed(folder: Path, into: IO[bytes]) -> None:
    """As a zip, uncompressed: pictures are compressed already. Raises FolderError, OSError."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:  # some are of 1970
        for name in names_in(folder):
            archive.write(folder / name, name)


def names_in(folder: Path) -> list[str]:
    """Of all files, links followed; what systems leave behind is not among them. Raises FolderError."""
    return sorted(name for name in _walked(folder, "", ()) if not is_junk(name))


def _walked(folder: Path, above: str, real: tuple[Path, ...]) -> Iterator[str]:
    where = folder / above
    resolved = where.resolve()
    if resolved in real:
        raise FolderError(f"{where} is a link to a folder that holds it: remove it.")
    try:
        found = sorted(os.scandir(where), key=lambda entry: entry.name)
    except OSError as error:
        raise FolderError(f"{where} cannot be read: {error.strerror}.") from None
    for entry in found:
        name = f"{above}/{entry.name}" if above else entry.name
        if entry.is_dir():
            yield from _walked(folder, name, (*real, resolved))
        elif entry.is_file():
            yield name
        elif entry.is_symlink():
            raise FolderError(f"{folder / name} is a link to nothing: remove it, or mend it.")


def _entry(folder: Path, name: str) -> ArchiveEntry:
    """Its hash is not known: nothing but itself is equal to it."""
    path = folder / name
    with path.open("rb") as file:
        head = file.read(HEAD)
    size = path.stat().st_size
    return ArchiveEntry(name, 0, size, size, STORED, sha256=name, head=head)
