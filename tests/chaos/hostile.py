"""Archives of people who mean harm, or whose disk failed them: none of them may be taken, or cost others anything."""

import gzip
import io
import os
import zipfile
from collections.abc import Callable


def _bomb() -> bytes:
    """Half a megabyte that unpacks to half a gigabyte."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(512):
            archive.writestr(f"{'ab'[number % 2]}/{number}.jpg", bytes(1 << 20))
    return content.getvalue()


def _no_tar() -> bytes:
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb") as packed:
        for _ in range(100):
            packed.write(os.urandom(4700) + bytes((1 << 20) - 4700))
    return content.getvalue()


def _nothing_but_names() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}/{number}.txt", b"")
    return content.getvalue()


def _cut() -> bytes:
    return _nothing_but_names()[:-1000]


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "a bomb": _bomb,
    "a gzip that is no tar": _no_tar,
    "nothing but names": _nothing_but_names,
    "a zip that was cut": _cut,
    "noise": lambda: os.urandom(1 << 20),
}
