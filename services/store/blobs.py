"""The store of bytes: whole or not there, by place (see `places`). A local folder, or a store of objects."""

import errno
import glob
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from services import objects
from services.contract.errors import FilesAway
from services.located import is_remote
from services.store import places

ENDLESS = 1 << 62  # bytes: nobody says what a bucket holds


class Blobs(Protocol):
    """What every store of bytes can do. All of it blocks; each may raise OSError."""

    def put(self, place: str, content: bytes) -> None: ...

    def put_file(self, place: str, source: Path) -> None:
        """Copy `source` in."""
        ...

    def adopt(self, place: str, draft: str, *, anew: bool = True) -> None:
        """`draft`, from `new_draft` or from beside one, takes its place; without `anew`, unless that is taken."""
        ...

    def new_draft(self, tenant: str, name: str) -> str:
        """Where to write what is coming in."""
        ...

    def drop_draft(self, draft: str) -> None:
        """With what lies beside it, whose name begins as its own."""
        ...

    def get(self, place: str) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def where(self, place: str) -> str:
        """To be read only (see `located`). Raises FileNotFoundError."""
        ...

    def beginning_with(self, place: str) -> list[str]:
        """All places of its folder whose names begin as it does, itself too."""
        ...

    def free(self) -> int:
        """Bytes that there is room for."""
        ...

    def delete(self, place: str) -> None: ...

    def delete_beginning_with(self, place: str) -> None: ...

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

    def adopt(self, place: str, draft: str, *, anew: bool = True) -> None:
        path = self._path(place)
        if not anew and path.exists():
            Path(draft).unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(draft).replace(path)

    def new_draft(self, tenant: str, name: str) -> str:
        folder = self._path(places.incoming(tenant))
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / name)

    def drop_draft(self, draft: str) -> None:
        for leftover in Path(draft).parent.glob(f"{Path(draft).name}*"):
            leftover.unlink(missing_ok=True)

    def get(self, place: str) -> bytes:
        return self._path(place).read_bytes()

    def where(self, place: str) -> str:
        path = self._path(place)
        if not path.exists():
            raise FileNotFoundError(place)
        return str(path)

    def beginning_with(self, place: str) -> list[str]:
        path = self._path(place)
        return sorted(str(found.relative_to(self.root)) for found in path.parent.glob(f"{glob.escape(path.name)}*"))

    def free(self) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free

    def delete(self, place: str) -> None:
        self._path(place).unlink(missing_ok=True)

    def delete_beginning_with(self, place: str) -> None:
        for found in self.beginning_with(place):
            self.delete(found)

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


@dataclass(frozen=True)
class ObjectBlobs:
    """`url`: where all places are, as `s3://bucket/folder`. An upload that was cut off leaves parts which only a rule
    of the bucket removes (docs/how-to/object-store.md)."""

    url: str

    def put(self, place: str, content: bytes) -> None:
        objects.write_all(self._url(place), content)

    def put_file(self, place: str, source: Path) -> None:
        objects.write_all(self._url(place), source)

    def adopt(self, place: str, draft: str, *, anew: bool = True) -> None:
        if anew or not self._is_there(place):
            objects.copy(draft, self._url(place))
        objects.delete([draft])

    def new_draft(self, tenant: str, name: str) -> str:
        return self._url(f"{places.incoming(tenant)}/{name}")

    def drop_draft(self, draft: str) -> None:
        objects.delete([url for url, _ in objects.beginning_with(draft)])
        objects.delete([draft])  # in no listing yet, perhaps

    def get(self, place: str) -> bytes:
        return objects.read_all(self._url(place))

    def where(self, place: str) -> str:
        objects.stat(self._url(place))
        return self._url(place)

    def beginning_with(self, place: str) -> list[str]:
        return [url.removeprefix(self._url("")) for url, _ in objects.beginning_with(self._url(place))]

    def free(self) -> int:
        return ENDLESS

    def delete(self, place: str) -> None:
        objects.delete([self._url(place)])

    def delete_beginning_with(self, place: str) -> None:
        objects.delete([url for url, _ in objects.beginning_with(self._url(place))])

    def delete_folder(self, place: str) -> None:
        objects.delete([url for url, _ in objects.beginning_with(self._url(f"{place}/"))])

    def keep_only(self, place: str, name: str) -> None:
        kept = self._url(f"{place}/{name}/")
        found = objects.beginning_with(self._url(f"{place}/"))
        objects.delete([url for url, _ in found if not url.startswith(kept)])

    def sweep_drafts(self, *, older_than: float) -> None:
        before = time.time() - older_than
        for tenant in objects.folders_in(self.url):
            drafts = list(objects.beginning_with(self._url(f"{tenant}/{places.INCOMING}/")))
            objects.delete([url for url, made in drafts if made < before])
            passes: dict[str, list[tuple[str, float]]] = {}
            for url, made in objects.beginning_with(self._url(f"{tenant}/{places.SHARED}/")):
                passes.setdefault(url.rpartition("/")[0], []).append((url, made))
            for found in passes.values():
                if max(made for _, made in found) < before:  # nothing came to it for so long
                    objects.delete([url for url, _ in found])

    def _url(self, place: str) -> str:
        return f"{self.url}/{place}"

    def _is_there(self, place: str) -> bool:
        try:
            return bool(self.where(place))
        except FileNotFoundError:
            return False


def refusal_to_keep(where: str) -> str | None:
    """Why a process must not start with this store of bytes; one that is only away may come back."""
    try:
        if is_remote(where):
            objects.folders_in(where)
    except FilesAway as error:
        if error.errno != errno.EHOSTUNREACH:
            return f"HEADWAY_FILES: {where}: {error.strerror}. The line above says more."
    return None


def blobs_at(where: str) -> Blobs:
    return ObjectBlobs(where) if is_remote(where) else LocalBlobs(Path(where))


def remove_old(paths: Iterable[Path], *, seconds: float) -> None:
    """Files and folders that nothing has touched for `seconds`: what processes that were killed left behind."""
    for path in paths:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
