"""Files: their records in Redis, and where their bytes lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from services.contract.file import Contents
from services.contract.ids import is_id
from services.contract.spec import ArchivePaths
from services.store import keys
from services.store.blobs import Blobs
from services.store.commands import Redis
from services.store.reading import newest_ids, read_hash, say_once
from services.store.scripts import Scripts


@dataclass(frozen=True)
class FileRecord:
    """An upload. `sha256` is that of the bytes as they came, which lie at `upload`; images are read from `data`,
    through `index`: all three are places."""

    id: str
    tenant: str
    filename: str
    bytes: int
    created_at: int
    sha256: str
    upload: str
    data: str
    index: str
    contents: Contents

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> Self:
        """Raises ValueError, KeyError."""
        return cls(
            id=fields["id"],
            tenant=fields["tenant"],
            filename=fields["filename"],
            bytes=int(fields["bytes"]),
            created_at=int(fields["created_at"]),
            sha256=fields["sha256"],
            upload=fields["upload"],
            data=fields["data"],
            index=fields["index"],
            contents=Contents.model_validate_json(fields["contents"]),
        )


class Files:
    def __init__(self, redis: Redis, scripts: Scripts, blobs: Blobs) -> None:
        self._redis, self._scripts, self._blobs = redis, scripts, blobs

    async def add(self, record: FileRecord) -> None:
        fields: dict[str, str | int] = {
            "v": "1",
            "id": record.id,
            "tenant": record.tenant,
            "filename": record.filename,
            "bytes": record.bytes,
            "created_at": record.created_at,
            "sha256": record.sha256,
            "upload": record.upload,
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
        if not fields or fields.get("tenant") != tenant:
            return None
        try:
            return FileRecord.of_fields(fields)
        except (KeyError, ValueError) as error:
            say_once(f"file {id}", str(error))
            return None

    async def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[FileRecord], bool]:
        """Newest first, from the one before `after`; and whether there are more."""
        ids, more = await newest_ids(self._redis, keys.files_of(tenant), after=after, limit=limit)
        records = [await self.owned_by(tenant, id) for id in ids]
        return [record for record in records if record is not None], more

    def local(self, record: FileRecord) -> ArchivePaths:
        """The archive and its index as local paths, which a trainer can read."""
        try:
            data, index = self._blobs.local(record.data), self._blobs.local(record.index)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"the bytes of {record.id} ({record.filename}) are no longer in the file store"
            ) from None
        return ArchivePaths(data=str(data), index=str(index))
