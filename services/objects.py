"""A store of objects (S3, Google Cloud Storage, Azure Blob Storage, or what speaks as they do), spoken of as files are.

An object is named by its URL: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`. What leads there (keys,
region, an endpoint of one's own) stands in the environment, by the names that each store's own tools use: AWS_…,
GOOGLE_…, AZURE_…. Whatever fails is asked again for ten seconds; what does not answer is waited for a minute. Then it
is an OSError: FilesAway wherever the store itself is in the way, with a sentence that names none of its addresses.
"""

import errno
import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from services.contract.errors import FilesAway
from services.environment import environment

if TYPE_CHECKING:
    from obstore.store import ClientConfig

log = logging.getLogger(__name__)

SCHEMES: Final = ("s3", "gs", "az")
PIECE: Final = 8 * 1024**2  # bytes of a request: less is slow, more takes memory
AT_ONCE: Final = 4  # pieces under way of an object that is written
MOST_COPIED: Final = 5 * 1024**3  # bytes of an object that S3 copies in one request
ANSWER: Final = timedelta(minutes=1)  # a piece needs a tenth of a megabyte in a second for that
COPIED: Final = timedelta(minutes=15)
WORDS: Final = {
    errno.EHOSTUNREACH: "The store of objects does not answer",
    errno.EACCES: "The store of objects refuses our keys, or finds none",
    errno.ENODEV: "There is no such bucket",
    errno.EINVAL: "What the environment says of the store of objects cannot be",
}
NO_BUCKET: Final = re.compile("NoSuchBucket|ContainerNotFound|The specified bucket does not exist")
NO_KEYS: Final = "169.254.169.254"  # where a cloud's machine is asked for its own
UNSPEAKABLE: Final = "builder error"  # an address without TLS where that was not allowed
REFUSED: Final = re.compile(r"status code: 40[13]")
RETRY: Final[Any] = {"max_retries": 1000, "retry_timeout": timedelta(seconds=10)}


class ObjectStat(NamedTuple):
    bytes: int
    tag: str  # another one whenever the bytes are others
    modified: float  # Unix time, s, by the store's clock


def stat(url: str) -> ObjectStat:
    """Raises FileNotFoundError."""
    store, key = _found(url)
    with _os_errors(url):
        meta = obstore.head(store, key)
    return ObjectStat(
        meta["size"], (meta["e_tag"] or "").removeprefix("W/").strip('"'), meta["last_modified"].timestamp()
    )


def opened(url: str, piece: int = PIECE) -> BinaryIO:
    """To be read at any place, `piece` bytes a request. Raises FileNotFoundError."""
    return cast(BinaryIO, io.BufferedReader(_Reader(url, stat(url).bytes), piece))


def read_range(url: str, start: int, length: int) -> bytes:
    """Fewer bytes where the object ends before."""
    store, key = _found(url)
    if not length:
        return b""
    with _os_errors(url):
        return bytes(obstore.get_range(store, key, start=start, length=length))


def read_all(url: str) -> bytes:
    """Raises FileNotFoundError."""
    store, key = _found(url)
    with _os_errors(url):
        return bytes(obstore.get(store, key).bytes())


def write_all(url: str, content: bytes | Path) -> None:
    store, key = _found(url)
    with _os_errors(url):
        obstore.put(store, key, content, chunk_size=PIECE, max_concurrency=AT_ONCE)


@contextmanager
def written(url: str) -> Iterator[BinaryIO]:
    """What is written goes out in pieces; there is an object once this is left, and none if by an exception."""
    store, key = _found(url)
    writer = _Writer(obstore.open_writer(store, key, buffer_size=PIECE, max_concurrency=AT_ONCE), url)
    yield cast(BinaryIO, writer)
    writer.finish()


def copy(source: str, target: str) -> None:
    """Within a bucket: the store does it itself where it can."""
    if stat(source).bytes > MOST_COPIED:
        with opened(source) as reader, written(target) as writer:
            while piece := reader.read(PIECE):
                writer.write(piece)
        return
    (store, key), (_, copied) = _found(source, COPIED), _found(target)
    with _os_errors(source):
        obstore.copy(store, key, copied)


def delete(urls: Sequence[str]) -> None:
    """Of one bucket; those that are not there are passed over."""
    if not urls:
        return
    store, keys = _found(urls[0])[0], [_found(url)[1] for url in urls]
    with _os_errors(urls[0]):
        try:
            obstore.delete(store, keys)
        except FileNotFoundError:  # of a store that stops there
            for key in keys:
                with suppress(FileNotFoundError):
                    obstore.delete(store, key)


def beginning_with(url: str) -> Iterator[tuple[str, float]]:
    """All objects whose URLs begin as this one, in order, with when they were made (Unix time, s)."""
    store, key = _found(url)
    root, folder = url[: len(url) - len(key)], key.rpartition("/")[0]
    with _os_errors(url):
        for chunk in obstore.list(store, folder or None, offset=key[:-1] or None):
            for meta in chunk:
                if meta["path"].startswith(key):
                    yield root + meta["path"], meta["last_modified"].timestamp()
                elif meta["path"] > key:
                    return


def folders_in(url: str) -> list[str]:
    """Names of what would be folders there."""
    store, key = _found(url)
    with _os_errors(url):
        found = obstore.list_with_delimiter(store, key or None)["common_prefixes"]
    return [path.rstrip("/").rpartition("/")[2] for path in found]


class _Reader(io.RawIOBase):
    """Each read is a request of its own, which is asked again by itself where a connection breaks."""

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size, self._at = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise OSError(errno.EINVAL, "a seek to before the beginning", self._url)
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._size - self._at))
        content = read_range(self._url, self._at, length)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


class _Writer(io.RawIOBase):
    """Closing it without `finish` leaves nothing."""

    def __init__(self, writer: "obstore.WritableFile", url: str) -> None:
        self._writer, self._url, self._at = writer, url, 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, content: Any) -> int:
        with _os_errors(self._url):
            written = self._writer.write(content)
        self._at += written
        return written

    def finish(self) -> None:
        with _os_errors(self._url):
            self._writer.close()


def _found(url: str, timeout: timedelta = ANSWER) -> tuple[ObjectStore, str]:
    """The store, and the object's key in it."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return _bucket(f"{scheme}://{bucket}", timeout), key


@cache
def _bucket(url: str, timeout: timedelta) -> ObjectStore:
    try:
        options: ClientConfig = {"timeout": timeout, "allow_http": _allows_http()}
        return from_url(url, retry_config=RETRY, client_options=options)
    except (BaseError, ValueError, OSError) as error:
        raise _away(errno.EINVAL, error, url) from None


def _allows_http() -> bool:
    """The library has it from there, too, unless it is told anything else."""
    return any(environment().get(f"{of}_ALLOW_HTTP", "").lower() in ("true", "1") for of in ("AWS", "AZURE", "GOOGLE"))


@contextmanager
def _os_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, ValueError, OSError) as error:  # a writer's are of the latter
        raise _meant(error, url) from None


def _meant(error: Exception, url: str) -> OSError:
    """Much of it the library tells in words only."""
    said = str(error)
    if NO_BUCKET.search(said):
        return _away(errno.ENODEV, error, url)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", url)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or NO_KEYS in said or REFUSED.search(said):
        return _away(errno.EACCES, error, url)
    if "status code: 416" in said:
        return OSError(errno.EINVAL, "it is shorter than it was", url)
    return _away(errno.EINVAL if UNSPEAKABLE in said else errno.EHOSTUNREACH, error, url)


def _away(number: int, error: Exception, url: str) -> FilesAway:
    """The library's own words are for the log: they name addresses, and hold what the store said."""
    log.warning("%s: %s", url, str(error).partition("\n")[0])
    return FilesAway(number, WORDS[number], url)
