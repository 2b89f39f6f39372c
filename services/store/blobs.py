"""The store of bytes: whole or not there, by place (see `places`). Today a local folder."""

import glob
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from services.store import places


class Blobs(Protocol):
    """What every store of bytes can do. All of it blocks; each may raise OSError."""

    def put(self, place: str, content: bytes) -> None: ...

    def put_file(self, place: str, source: Path) -> None:
        """Copy `source` in."""
        ...

    def adopt(self, place: str, draft: Path, *, anew: bool = True) -> None:
        """`draft`, from `new_draft` or from beside one, takes its place; without `anew`, unless that is taken."""
        ...

    def new_draft(self, tenant: str, name: str) -> Path:
        """A local path to write what is coming in."""
        ...

    def get(self, place: str) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def local(self, place: str) -> Path:
        """The bytes as a local file, to be read only. Raises FileNotFoundError."""
        ...

    def beginning_with(self, place: str) -> list[str]:
        """All places of its folder whose names begin as it does, itself too."""
        ...

    def free(self) -> int:
        """Bytes that there is room for."""
        ...

    def delete(self, place: str) -> None: ...

    def delete_folder(self, place: str) -> None: ...

    def keep_only(self, place: str, name: str) -> None:
        """Of the folders in `place`."""
        ...

    def sweep_drafts(self, *, older_than: float) -> None:
        """What broken uploads left, once nothing touched it for so many seconds."""
        ...


@dataclass(frozen=True)
class LocalBlobs:
    root: Path

    def put(self, place: str, content: bytes) -> None:
        with self._drafted(place) as file:
            file.write(content)

    def put_file(self, place: str, source: Path) -> None:
        with source.open("rb") as reader, self._drafted(place) as file:
            shutil.copyfileobj(reader, file, 1 << 20)

    def adopt(self, place: str, draft: Path, *, anew: bool = True) -> None:
        path = self._path(place)
        if not anew and path.exists():
            draft.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(path)

    def new_draft(self, tenant: str, name: str) -> Path:
        folder = self._path(places.incoming(tenant))
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def get(self, place: str) -> bytes:
        return self._path(place).read_bytes()

    def local(self, place: str) -> Path:
        path = self._path(place)
        if not path.exists():
            raise FileNotFoundError(place)
        return path

    def beginning_with(self, place: str) -> list[str]:
        path = self._path(place)
        return sorted(str(found.relative_to(self.root)) for found in path.parent.glob(f"{glob.escape(path.name)}*"))

    def free(self) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free

    def delete(self, place: str) -> None:
        self._path(place).unlink(missing_ok=True)

    def delete_folder(self, place: str) -> None:
        shutil.rmtree(self._path(place), ignore_errors=True)

    def keep_only(self, place: str, name: str) -> None:
        for folder in self._path(place).iterdir():
            if folder.name != name:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep_drafts(self, *, older_than: float) -> None:
        for drafts in (f"*/{places.INCOMING}/*", f"*/{places.SHARED}/*/*"):
            remove_old(self.root.glob(drafts), seconds=older_than)

    def _path(self, place: str) -> Path:
        return self.root / place

    @contextmanager
    def _drafted(self, place: str) -> Iterator[BinaryIO]:
        """A file that takes its place once it is whole and on the disk; else nothing is left of it."""
        path = self._path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def remove_old(paths: Iterable[Path], *, seconds: float) -> None:
    """Files and folders that nothing has touched for `seconds`: what processes that were killed left behind."""
    for path in paths:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
