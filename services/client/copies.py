"""Files of a backup: what there is, copied with the SHA-256 of each, and checked against that on the way back."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from services.client.terminal import console

CHUNK = 1 << 20
STAGE = ".restoring"  # beside its target: what is not whole yet


class Damaged(Exception):
    """What a backup is, or shall be of, is not what it should: which file, in a sentence."""


@dataclass(frozen=True)
class Found:
    """A file below a folder."""

    path: str
    size: int


def files_in(folder: Path) -> list[Found]:
    """Those that stay long enough to be looked at. Raises OSError, and Damaged where there is a link: what it leads to
    is neither copied nor left out in silence."""
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_unless_gone):
        for name in (*names, *folders):
            with suppress(FileNotFoundError):
                seen = os.lstat(path := os.path.join(parent, name))
                if stat.S_ISREG(seen.st_mode):
                    found.append(Found(os.path.relpath(path, folder), seen.st_size))
                elif not stat.S_ISDIR(seen.st_mode):
                    raise Damaged(f"{path} is a link or no file: put there what it leads to")
    return sorted(found, key=lambda each: each.path)


def _refuse_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def progress(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar, and how it is told of so many bytes more."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=size)
        yield lambda more: bar.advance(task, more)


def copied(source: Path, target: Path, advance: Callable[[int], None]) -> str:
    """With its time. The SHA-256 of what was written. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            advance(len(chunk))
        seen = os.fstat(reader.fileno())
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    return digest.hexdigest()


def as_sums(sums: Iterable[tuple[str, str]]) -> str:
    """Paths and hashes, as `sha256sum --check` reads them."""
    return "".join(f"{digest}  {path}\n" for path, digest in sums)


def of_sums(text: str) -> dict[str, str]:
    """Hashes by path. Raises Damaged where a path leads elsewhere."""
    pairs = [line.partition("  ") for line in text.splitlines()]
    for _, _, path in pairs:
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise Damaged(f"its list names {path!r}, which is no file of a backup")
    return {path: digest for digest, _, path in pairs}


def refuse_incomplete(folder: Path, sums: Iterable[str]) -> None:
    """Raises Damaged where a file of the list is not there, or is a link."""
    there = {found.path for found in files_in(folder)}
    if missing := sorted(set(sums) - there):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise Damaged(f"it lacks {missing[0]}{more}: copy it again")


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def room_at(path: Path) -> int:
    """Bytes that are free where it is, or will be made."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())
    return shutil.disk_usage(there).free


@dataclass(frozen=True)
class Staged:
    """Files that become those of an empty `target` when all are whole."""

    target: Path

    @property
    def folder(self) -> Path:
        return self.target / STAGE

    def bring(self, source: Path, sums: dict[str, str], advance: Callable[[int], None]) -> None:
        """Raises Damaged, OSError."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for path, digest in sums.items():
            if copied(source / path, self.folder / path, advance) != digest:
                raise Damaged(f"{source / path} is not what it was: its SHA-256 differs")

    def put_in_place(self) -> Iterator[Path]:
        """Where each of them is now."""
        for child in self.folder.iterdir():
            yield child.replace(self.target / child.name)
        self.folder.rmdir()

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
