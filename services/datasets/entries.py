"""An archive's entries: every regular file in it, and where its bytes lie."""

import zlib
from dataclasses import dataclass

from services.contract.errors import InvalidArchive
from services.datasets.index import DEFLATED
from services.datasets.names import UTF8, Encoding
from services.located import Where, opened


@dataclass(frozen=True)
class ArchiveEntry:
    """A regular file in an archive, with how its bytes lie there."""

    name: str
    offset: int
    stored: int
    size: int
    method: int
    sha256: str
    head: bytes  # its first HEAD bytes


@dataclass(frozen=True)
class ArchiveTree:
    """`data` is the file to read from: the upload itself, or the plain tar made of a tar.gz. Entries by name."""

    data: Where
    entries: list[ArchiveEntry]
    folders: list[str]
    encoding: Encoding = UTF8

    def read(self, entry: ArchiveEntry) -> bytes:
        with opened(self.data, max(entry.stored, 1)) as file:
            file.seek(entry.offset)
            stored = file.read(entry.stored)
        return zlib.decompress(stored, wbits=-zlib.MAX_WBITS) if entry.method == DEFLATED else stored


class Entries:
    """Entries by their names, each of which is there once."""

    def __init__(self) -> None:
        self.entries: dict[str, ArchiveEntry] = {}
        self.folders: set[str] = set()

    def add(self, entry: ArchiveEntry) -> None:
        if entry.name in self.entries:
            raise InvalidArchive(f"the archive holds {entry.name!r} twice")
        self.entries[entry.name] = entry

    def archive(self, data: Where, encoding: Encoding = UTF8) -> ArchiveTree:
        return ArchiveTree(data, [self.entries[name] for name in sorted(self.entries)], sorted(self.folders), encoding)
