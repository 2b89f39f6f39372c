"""Files: their bytes behind one URL, the tenant in every path, and their records in Redis."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.contract.dataset import Contents
from services.contract.ids import is_id
from services.contract.spec import ArchivePaths
from services.store import keys
from services.store.connection import Redis
from services.store.reading import newest_ids, read_hash
from services.store.scripts import Scripts


@dataclass(frozen=True)
class FileStore:
    """Bytes by place (`tenant/…`). Today a local folder; every write is whole or not there."""

    root: Path

    def path(self, place: str) -> Path:
        return self.root / place

    def put(self, place: str, content: bytes) -> None:
        with self._drafted(place) as file:
            file.write(content)

    def put_file(self, place: str, source: Path) -> None:
        """Copy `source` in."""
        with source.open("rb") as reader, self._drafted(place) as file:
            shutil.copyfileobj(reader, file, 1 << 20)

    @contextmanager
    def _drafted(self, place: str) -> Iterator[BinaryIO]:
        """A file that takes its place once it is whole and on the disk; else nothing is left of it."""
        path = self.path(place)
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

    def delete(self, place: str) -> None:
        self.path(place).unlink(missing_ok=True)

    def keep_only(self, place: str, name: str) -> None:
        """Of the folders in `place`."""
        for folder in self.path(place).iterdir():
            if folder.name != name:
                shutil.rmtree(folder, ignore_errors=True)

    def delete_folder(self, place: str) -> None:
        shutil.rmtree(self.path(place), ignore_errors=True)


@dataclass(frozen=True)
class FileRecord:
    """An upload: `sha256` is that of the bytes as they came; `data` and `index` are places in the store."""

    id: str
    tenant: str
    filename: str
    bytes: int
    created_at: int
    sha256: str
    data: str
    index: str
    contents: Contents


def remove_old(paths: Iterable[Path], *, seconds: float) -> None:
    """Files and folders that nothing has touched for `seconds`: what processes that were killed left behind."""
    for path in paths:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class Files:
    def __init__(self, redis: Redis, scripts: Scripts, bytes: FileStore) -> None:
        self._redis, self._scripts, self.bytes = redis, scripts, bytes

    async def add(self, record: FileRecord) -> None:
        fields = {
            "v": "1",
            "id": record.id,
            "tenant": record.tenant,
            "filename": record.filename,
            "bytes": record.bytes,
            "created_at": record.created_at,
            "sha256": record.sha256,
            "data": record.data,
            "index": record.index,
            "contents": record.contents.model_dump_json(),
        }
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.file(record.id), mapping=fields)
            pipe.zadd(keys.files_of(record.tenant), {record.id: 0})
            await pipe.execute()

    async def owned_by(self, tenant: str, id: str) -> FileRecord | None:
        if not is_id(id, "file"):
            return None
        fields = await read_hash(self._redis, self._scripts, keys.file(id))
        if not fields or fields["tenant"] != tenant:
            return None
        return FileRecord(
            id=fields["id"],
            tenant=fields["tenant"],
            filename=fields["filename"],
            bytes=int(fields["bytes"]),
            created_at=int(fields["created_at"]),
            sha256=fields["sha256"],
            data=fields["data"],
            index=fields["index"],
            contents=Contents.model_validate_json(fields["contents"]),
        )

    async def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[FileRecord], bool]:
        """Newest first, from the one before `after`; and whether there are more."""
        ids, more = await newest_ids(self._redis, keys.files_of(tenant), after=after, limit=limit)
        records = [await self.owned_by(tenant, id) for id in ids]
        return [record for record in records if record is not None], more

    def local(self, record: FileRecord) -> ArchivePaths:
        """The archive and its index as local paths, which a trainer can read."""
        data, index = self.bytes.path(record.data), self.bytes.path(record.index)
        for path in (data, index):
            if not path.exists():
                raise FileNotFoundError(f"the bytes of {record.id} ({record.filename}) are no longer in the file store")
        return ArchivePaths(data=str(data), index=str(index))
