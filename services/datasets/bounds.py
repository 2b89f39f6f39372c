"""What an archive may cost: entries, bytes, and what they unpack to. Each refusal names the entry."""

import hashlib
from typing import IO

from services.contract.errors import InvalidArchive
from services.datasets.pictures import HEAD, UNCOMPRESSED, format_of

MAX_ENTRIES = 1_000_000
MAX_IMAGE = 256 * 1024**2  # bytes of one image
MAX_UNPACKED = 64 * 1024**3  # bytes of all of them
MAX_RATIO = 200  # unpacked to packed, for entries over RATIO_FROM: a bomb's is 1,000, a photograph's 1
RATIO_FROM = 64 * 1024
MAX_WHOLE_RATIO = 50  # the same of a whole archive that unpacks to more than WHOLE_RATIO_FROM: drawings as BMP have 30
WHOLE_RATIO_FROM = 1024**3  # hashed in seconds: up to here dark pictures, which deflate to a thousandth, are taken


def refuse_many(count: int) -> None:
    if count > MAX_ENTRIES:
        raise InvalidArchive(f"the archive has too many entries: at most {MAX_ENTRIES} are taken")


def refuse_whole(unpacked: int, packed: int) -> None:
    """An archive by what it unpacks to, or claims to."""
    if unpacked > MAX_UNPACKED:
        raise InvalidArchive(f"the archive is too large: at most {MAX_UNPACKED} bytes unpacked")
    if unpacked > WHOLE_RATIO_FROM and unpacked > packed * MAX_WHOLE_RATIO:
        raise InvalidArchive(
            f"the archive unpacks to more than {MAX_WHOLE_RATIO} times its size, and to more than {WHOLE_RATIO_FROM} "
            "bytes: refused as a bomb"
        )


def refuse_size(name: str, size: int) -> None:
    if size > MAX_IMAGE:
        raise InvalidArchive(f"{name!r} unpacks to {size} bytes; one image may have {MAX_IMAGE}")


def refuse_bomb(name: str, size: int, head: bytes) -> None:
    """Of what unpacks to more than MAX_RATIO times its size: dark pictures do, where their format packs nothing."""
    if size > RATIO_FROM and format_of(head) not in UNCOMPRESSED:
        raise InvalidArchive(f"{name!r} unpacks to more than {MAX_RATIO} times its size: refused as a bomb")


def digest(content: IO[bytes], name: str, size: int) -> tuple[bytes, str]:
    """The first HEAD bytes, and the hash of all, of which there must be `size`: an entry that lies about itself is
    refused."""
    head = content.read(HEAD)
    digest, read = hashlib.sha256(head), len(head)
    while chunk := content.read(1 << 20):
        read += len(chunk)
        if read > size:
            break
        digest.update(chunk)
    if read != size:
        raise InvalidArchive(f"{name!r} has not the {size} bytes that the archive says: it is damaged or was cut off")
    return head, digest.hexdigest()
