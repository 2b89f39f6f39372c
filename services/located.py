"""Bytes by where they are: a local file's path, or an object's URL (see `objects`). All of it may raise OSError."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services import objects

Where = str | Path


def is_remote(where: Where) -> bool:
    return isinstance(where, str) and where.partition("://")[0] in objects.SCHEMES


def opened(where: Where, piece: int = objects.PIECE) -> BinaryIO:
    """To be read at any place; of an object, `piece` bytes a request. Raises FileNotFoundError."""
    return objects.opened(str(where), piece) if is_remote(where) else Path(where).open("rb")


def size_of(where: Where) -> int:
    """Bytes. Raises FileNotFoundError."""
    return objects.stat(str(where)).bytes if is_remote(where) else Path(where).stat().st_size


def read_all(where: Where) -> bytes:
    """Raises FileNotFoundError."""
    return objects.read_all(str(where)) if is_remote(where) else Path(where).read_bytes()


@contextmanager
def written(where: Where) -> Iterator[BinaryIO]:
    """A new file, kept once this is left; of one that is left by an exception, nothing can be relied on."""
    if is_remote(where):
        with objects.written(str(where)) as writer:
            yield writer
        return
    with Path(where).open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


class Ranges:
    """What lies somewhere, opened once and read at any place, by many threads. Raises FileNotFoundError."""

    def __init__(self, where: Where) -> None:
        self.is_remote = is_remote(where)
        self._where = str(where)
        if self.is_remote:
            objects.stat(self._where)
        else:
            self._file = os.open(where, os.O_RDONLY)

    def close(self) -> None:
        if not self.is_remote:
            os.close(self._file)

    def read(self, start: int, length: int) -> bytes:
        """Fewer bytes where it ends before."""
        if self.is_remote:
            return objects.read_range(self._where, start, length)
        return os.pread(self._file, length, start)
