"""Names of archive entries, as people and their programs write them: read right, or refused by name."""

import re
import unicodedata
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass

import chardet

from services.contract.errors import InvalidArchive
from services.datasets.pictures import is_junk

DEPTH = 100  # folders above a file
UTF8_FLAG = 0x800  # PKWARE's APPNOTE, appendix D: without it a name is in cp437, or in whatever the packer's system has

# Code pages that short names can be told by; for the others a detector's word on a few bytes is worth nothing.
TELLING = frozenset(
    {"cp932", "shift_jis", "euc-jp", "cp949", "euc-kr", "big5", "gb2312", "gbk", "gb18030", "ibm866", "windows-1251"}
)
CONFIDENCE = 0.03  # of chardet in "小狗" alone; what it is wrong about (GBK, cp437) it names other than TELLING


@dataclass(frozen=True)
class Encoding:
    """How an archive's names that say nothing of it are read. `guessed`: it may be wrong, which is to be said."""

    name: str
    guessed: bool


UTF8 = Encoding("utf-8", guessed=False)


def encoding_of(infos: Iterable[zipfile.ZipInfo]) -> Encoding:
    """Of a zip's names without the UTF-8 flag: UTF-8 itself (macOS), else what a detector takes the bytes for."""
    parts = {part for info in infos if not info.flag_bits & UTF8_FLAG for part in re.split(rb"[/\\]", _raw(info))}
    telling = b"\n".join(sorted(part for part in parts if not part.isascii()))
    if _decodes(telling, "utf-8"):
        return UTF8
    return Encoding(_detected(telling), guessed=True)


def name_of(info: zipfile.ZipInfo, encoding: Encoding) -> str:
    """With folders behind slashes."""
    name = info.orig_filename  # the library cuts it at a NUL
    if not info.flag_bits & UTF8_FLAG:
        name = _raw(info).decode(encoding.name, errors="surrogateescape")
    return plain(name)


def plain(name: str) -> str:
    """With folders behind slashes, and without the `./` that `tar` writes."""
    name = name.replace("\\", "/")
    if name.startswith("/") or name in ("", ".", "./"):
        return name
    folder = "/" if name.endswith("/") else ""
    return "/".join(part for part in name.split("/") if part not in ("", ".")) + folder


def refuse(name: str) -> None:
    """Names that climb out of a folder, or that nobody could write down. Raises InvalidArchive."""
    if not is_junk(name) and any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidArchive(f"{name!r} has a control character in its name: rename it")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise InvalidArchive(f"{name!r} is no name in UTF-8: rename it")
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:/", name):
        raise InvalidArchive(f"{name!r} is not a plain relative path")
    if name.count("/") > DEPTH:
        raise InvalidArchive(f"{name[:60]!r}… lies in more than {DEPTH} folders")


def normal(name: str) -> str:
    """macOS writes é as two characters, others as one: both are one name."""
    return unicodedata.normalize("NFC", name)


def _raw(info: zipfile.ZipInfo) -> bytes:
    """The bytes of a name without the flag, which the library has read as cp437."""
    return info.orig_filename.encode("cp437")


def _detected(raw: bytes) -> str:
    found = chardet.detect(raw)
    encoding = (found["encoding"] or "").lower()
    if encoding in TELLING and found["confidence"] >= CONFIDENCE and _decodes(raw, encoding):
        return encoding
    return "gb18030" if _decodes(raw, "gb2312") else "cp437"


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True
