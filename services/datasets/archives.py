"""Archives as they come: every regular file in them, and where its bytes lie. They are never unpacked by name.

What cannot be trusted (names that climb out, links, bombs, encryption) refuses the whole archive; the sentence names
the entry.
"""

import errno
import gzip
import struct
import tarfile
import zipfile
import zlib

from services.contract.errors import InvalidArchive
from services.datasets.entries import ArchiveTree
from services.datasets.pictures import HEAD
from services.datasets.tars import NO_ARCHIVE, is_plain_tar, plain_tar, read_tar
from services.datasets.zips import read_zip
from services.located import Where, opened, size_of

# What the libraries raise on bytes that are no archive, or one that they do not know.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    struct.error,
    EOFError,
    OverflowError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def read_archive(path: Where) -> ArchiveTree:
    """Raises InvalidArchive; makes `path` + ".tar" of a tar.gz."""
    with opened(path, HEAD) as file:
        head = file.read(4)
    try:
        if head in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
            return read_zip(path)
        packed = size_of(path)
        if head.startswith(b"\x1f\x8b"):
            path = plain_tar(path)
        if is_plain_tar(path):
            return read_tar(path, packed)
    except DAMAGE as error:
        raise InvalidArchive(f"the archive is damaged or was cut off: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where a damaged directory points; anything else is the disk's
            raise
        raise InvalidArchive("the archive is damaged: it points outside itself") from None
    raise InvalidArchive(NO_ARCHIVE)
