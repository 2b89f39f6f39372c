"""Zips, entry by entry."""

import stat
import struct
import zipfile
from typing import IO

from services.contract.errors import InvalidArchive
from services.datasets import names
from services.datasets.bounds import MAX_RATIO, digest, refuse_bomb, refuse_many, refuse_size, refuse_whole
from services.datasets.entries import ArchiveEntry, ArchiveTree, Entries
from services.datasets.index import DEFLATED, STORED
from services.located import Where, opened, size_of

LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # PKWARE's APPNOTE 4.3.7; its last two are the lengths of name and extra


def read_zip(path: Where) -> ArchiveTree:
    found = Entries()
    with opened(path) as raw:
        count = _zip_count(raw)
        refuse_many(count)  # before the directory is read, which may itself be the bomb
        archive = zipfile.ZipFile(raw)
        if (count - len(archive.infolist())) % 65_536:  # what is no zip64 counts no further
            raise InvalidArchive(f"the archive is damaged: its directory has not the {count} entries that it claims")
        refuse_whole(sum(info.file_size for info in archive.infolist()), size_of(path))
        encoding = names.encoding_of(archive.infolist())
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):  # an object is read on, not back
            name = names.name_of(info, encoding)
            names.refuse(name)
            if name.endswith("/"):
                found.folders.add(name.rstrip("/"))
            else:
                found.add(_zip_entry(archive, raw, info, name))
    return found.archive(path, encoding=encoding)


def _zip_entry(archive: zipfile.ZipFile, raw: IO[bytes], info: zipfile.ZipInfo, name: str) -> ArchiveEntry:
    _refuse_zip_entry(info, name)
    offset = _zip_offset(raw, info)
    with archive.open(info) as content:  # reads to the end, so the CRC is checked too
        head, sha256 = digest(content, name, info.file_size)
    if info.file_size > info.compress_size * MAX_RATIO:
        refuse_bomb(name, info.file_size, head)
    return ArchiveEntry(name, offset, info.compress_size, info.file_size, info.compress_type, sha256, head)


def _zip_count(raw: IO[bytes]) -> int:
    """How many entries the end of the directory claims; zip64's too, as the library reads it."""
    record = zipfile._EndRecData(raw)  # type: ignore[attr-defined]
    return int(record[zipfile._ECD_ENTRIES_TOTAL]) if record else 0  # type: ignore[attr-defined]


def _refuse_zip_entry(info: zipfile.ZipInfo, name: str) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        raise InvalidArchive(f"{name!r} is a link or a special file; an archive may hold only files and folders")
    if info.flag_bits & 0x1:
        raise InvalidArchive(f"{name!r} is encrypted")
    if info.compress_type not in (STORED, DEFLATED):
        raise InvalidArchive(f"{name!r} is compressed in a way that is not taken: use store or deflate")
    refuse_size(name, info.file_size)


def _zip_offset(raw: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where the entry's bytes begin: after its local header, whose extra field may differ from the directory's."""
    raw.seek(info.header_offset)
    name_length, extra_length = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))[-2:]
    return int(info.header_offset + LOCAL_HEADER.size + name_length + extra_length)
