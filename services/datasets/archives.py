"""Archives as they come: every regular file in them, and where its bytes lie. They are never unpacked by name.

What cannot be trusted (names that climb out, links, bombs, encryption) refuses the whole archive; the sentence names
the entry.
"""

import errno
import gzip
import hashlib
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from services.contract.errors import InvalidArchive
from services.datasets.index import DEFLATED, STORED

MAX_ENTRIES = 1_000_000
MAX_IMAGE = 256 * 1024**2  # bytes of one image
MAX_UNPACKED = 64 * 1024**3  # bytes of all of them
MAX_RATIO = 200  # unpacked to packed, for entries over RATIO_FROM: a bomb's is 1,000, a photograph's 1
RATIO_FROM = 1024**2
MAX_WHOLE_RATIO = 50  # the same of a whole archive that unpacks to more than WHOLE_RATIO_FROM: drawings as BMP have 30
WHOLE_RATIO_FROM = 64 * 1024**2

# What the libraries raise on bytes that are no archive, or one that they do not know.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)

NO_ARCHIVE = "the file is not a zip, tar or tar.gz archive (other compressions are not taken)"
LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # PKWARE's APPNOTE 4.3.7; its last two are the lengths of name and extra


@dataclass(frozen=True)
class ArchiveEntry:
    """A regular file in an archive, with how its bytes lie there."""

    name: str
    offset: int
    stored: int
    size: int
    method: int
    sha256: str


def read_entries(path: Path) -> tuple[Path, list[ArchiveEntry]]:
    """The file to read them from, and all entries by name. Raises InvalidArchive; makes `path` + ".tar" of a tar.gz,
    and then that is the file."""
    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head.startswith(b"PK"):
            return path, _checked(_zip_entries(path))
        if head.startswith(b"\x1f\x8b"):
            path = _plain_tar(path)
        if _is_plain_tar(path):
            return path, _checked(_tar_entries(path))
    except DAMAGE as error:
        raise InvalidArchive(f"the archive is damaged or was cut off: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where a damaged directory points; anything else is the disk's
            raise
        raise InvalidArchive("the archive is damaged: it points outside itself") from None
    raise InvalidArchive(NO_ARCHIVE)


def _checked(entries: Iterator[ArchiveEntry]) -> list[ArchiveEntry]:
    """The entries by name, once none of them is a reason to refuse."""
    kept: dict[str, ArchiveEntry] = {}
    for entry in entries:
        if entry.name in kept:
            raise InvalidArchive(f"the archive holds {entry.name!r} twice")
        kept[entry.name] = entry
    return [kept[name] for name in sorted(kept)]


# --- zip ---------------------------------------------------------------------------------------------------------


def _zip_entries(path: Path) -> Iterator[ArchiveEntry]:
    with path.open("rb") as raw:
        count = _zip_count(raw)
        _refuse_many(count)  # before the directory is read, which may itself be the bomb
        archive = zipfile.ZipFile(raw)
        if (count - len(archive.infolist())) % 65_536:  # what is no zip64 counts no further
            raise InvalidArchive(f"the archive is damaged: its directory has not the {count} entries that it claims")
        _refuse_whole(sum(info.file_size for info in archive.infolist()), path.stat().st_size)
        yield from _zip_entries_of(archive, raw)


def _zip_entries_of(archive: zipfile.ZipFile, raw: IO[bytes]) -> Iterator[ArchiveEntry]:
    for info in archive.infolist():
        _refuse_name(info.orig_filename)  # the library cuts it at a NUL
        if info.is_dir():
            continue
        _refuse_zip_entry(info)
        with archive.open(info) as content:  # reads to the end, so the CRC is checked too
            sha256 = _sha256(content, info.filename, info.file_size)
        offset = _zip_offset(raw, info)
        yield ArchiveEntry(info.filename, offset, info.compress_size, info.file_size, info.compress_type, sha256)


def _zip_count(raw: IO[bytes]) -> int:
    """How many entries the end of the directory claims; zip64's too, as the library reads it."""
    record = zipfile._EndRecData(raw)  # type: ignore[attr-defined]
    return int(record[zipfile._ECD_ENTRIES_TOTAL]) if record else 0  # type: ignore[attr-defined]


def _refuse_zip_entry(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        raise InvalidArchive(
            f"{info.filename!r} is a link or a special file; an archive may hold only files and folders"
        )
    if info.flag_bits & 0x1:
        raise InvalidArchive(f"{info.filename!r} is encrypted")
    if info.compress_type not in (STORED, DEFLATED):
        raise InvalidArchive(f"{info.filename!r} is compressed in a way that is not taken: use store or deflate")
    _refuse_size(info.filename, info.file_size, info.compress_size)


def _zip_offset(raw: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where the entry's bytes begin: after its local header, whose extra field may differ from the directory's."""
    raw.seek(info.header_offset)
    name_length, extra_length = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))[-2:]
    return int(info.header_offset + LOCAL_HEADER.size + name_length + extra_length)


# --- tar ---------------------------------------------------------------------------------------------------------


def _is_plain_tar(path: Path) -> bool:
    try:
        tarfile.open(path, "r:").close()
    except tarfile.TarError:
        return False
    return True


def _tar_entries(path: Path) -> Iterator[ArchiveEntry]:
    count = 0
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else it keeps every one
            _refuse_many(count := count + 1)
            _refuse_name(member.name)
            if not member.isdir():
                yield _tar_entry(archive, member)
        _refuse_cut_tar(path, archive.offset)


def _tar_entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> ArchiveEntry:
    if not member.isreg() or member.issparse():
        raise InvalidArchive(f"{member.name!r} is a link or a special file; an archive may hold only files and folders")
    _refuse_size(member.name, member.size, member.size)
    content = archive.extractfile(member)
    assert content is not None  # it is a regular file
    sha256 = _sha256(content, member.name, member.size)
    return ArchiveEntry(member.name, member.offset_data, member.size, member.size, STORED, sha256)


def _refuse_cut_tar(path: Path, end: int) -> None:
    """A tar ends with a block of zeros; where another block stands, the library stopped at a damaged header."""
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise InvalidArchive("the archive is damaged or was cut off: its end is missing")


def _plain_tar(path: Path) -> Path:
    """A tar.gz as a plain tar beside it: in shuffled order, reading the gz costs 400 times as much (measured)."""
    plain = path.with_name(path.name + ".tar")
    packed, unpacked = path.stat().st_size, 0
    with gzip.open(path) as reader, plain.open("wb") as writer:
        _refuse_other_than_tar(reader)
        while chunk := reader.read(1 << 20):
            unpacked += len(chunk)
            _refuse_whole(unpacked, packed)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return plain


def _refuse_other_than_tar(unpacked: gzip.GzipFile) -> None:
    """A look at the first header, before all the rest is turned."""
    first = unpacked.read(tarfile.BLOCKSIZE)
    unpacked.seek(0)
    if not any(first) and len(first) == tarfile.BLOCKSIZE:
        return  # a tar without entries
    try:
        tarfile.TarInfo.frombuf(first, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise InvalidArchive(NO_ARCHIVE) from None


# --- both --------------------------------------------------------------------------------------------------------


def _refuse_many(count: int) -> None:
    if count > MAX_ENTRIES:
        raise InvalidArchive(f"the archive has too many entries: at most {MAX_ENTRIES} are taken")


def _refuse_whole(unpacked: int, packed: int) -> None:
    """An archive by what it unpacks to, or claims to."""
    if unpacked > MAX_UNPACKED:
        raise InvalidArchive(f"the archive is too large: at most {MAX_UNPACKED} bytes unpacked")
    for start, ratio in ((RATIO_FROM, MAX_RATIO), (WHOLE_RATIO_FROM, MAX_WHOLE_RATIO)):
        if unpacked > start and unpacked > packed * ratio:
            raise InvalidArchive(f"the archive unpacks to more than {ratio} times its size: refused as a bomb")


def _refuse_name(name: str) -> None:
    if any(character < " " for character in name):
        raise InvalidArchive(f"{name!r} has a control character in its name: rename it")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidArchive(f"{name!r} is no name in UTF-8: rename it")
    parts = PurePosixPath(name).parts
    if "\\" in name or "\0" in name or name.startswith("/") or ".." in parts or (parts and ":" in parts[0][1:2]):
        raise InvalidArchive(f"{name!r} is not a plain relative path")


def _refuse_size(name: str, size: int, packed: int) -> None:
    if size > MAX_IMAGE:
        raise InvalidArchive(f"{name!r} unpacks to {size} bytes; one image may have {MAX_IMAGE}")
    if size > RATIO_FROM and size > packed * MAX_RATIO:
        raise InvalidArchive(f"{name!r} unpacks to more than {MAX_RATIO} times its size: refused as a bomb")


def _sha256(content: IO[bytes], name: str, size: int) -> str:
    """Of all the bytes, of which there must be `size`: an entry that lies about itself is refused."""
    digest, read = hashlib.sha256(), 0
    while chunk := content.read(1 << 20):
        read += len(chunk)
        if read > size:
            break
        digest.update(chunk)
    if read != size:
        raise InvalidArchive(f"{name!r} has not the {size} bytes that the archive says: it is damaged or was cut off")
    return digest.hexdigest()
