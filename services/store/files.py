"""Files: their records in Redis, and where their bytes lie."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from pydantic import TypeAdapter

from services.contract.contents import Contents
from services.contract.ids import is_id, new_id
from services.contract.layout import GUESSED, Layout
from services.contract.report import DataReport, Finding
from services.contract.spec import ArchivePaths
from services.datasets.index import read_index
from services.store import keys, places
from services.store.blobs import Blobs
from services.store.commands import Redis
from services.store.reading import fields_of_all, read_hash, read_hashes, refuse_newer, say_once, some_ids
from services.store.scripts import Scripts

FILE_VERSION = 1  # of a record; one of a later version is left to those who know it


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
    expires_at: int | None = None
    layout: Layout = GUESSED
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of_fields(cls, fields: Mapping[str, str]) -> Self:
        """Raises ValueError, KeyError."""
        refuse_newer(fields, FILE_VERSION)
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
            expires_at=int(fields["expires_at"]) if fields.get("expires_at") else None,
            layout=Layout.model_validate_json(fields.get("layout") or "{}"),
            findings=tuple(FINDINGS.validate_json(fields.get("findings") or "[]")),
        )


FINDINGS = TypeAdapter(list[Finding])
READ = 500  # records at once


@dataclass(frozen=True)
class Forgotten:
    """Hashes of pictures that none of a tenant's files has any more lie at `place`, since `at` by Redis' clock."""

    place: str
    at: float

    @property
    def tenant(self) -> str:
        return self.place.partition("/")[0]


class Files:
    def __init__(self, redis: Redis, scripts: Scripts, blobs: Blobs) -> None:
        self._redis, self._scripts, self._blobs = redis, scripts, blobs

    async def add(self, record: FileRecord) -> None:
        fields: dict[str, str | int] = {
            "v": FILE_VERSION,
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
            "expires_at": record.expires_at or "",
            "layout": record.layout.model_dump_json(exclude_defaults=True),
            "findings": FINDINGS.dump_json(list(record.findings)).decode(),
        }
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.file(record.id), mapping=fields)
            pipe.zadd(keys.files_of(record.tenant), {record.id: 0})
            pipe.incrby(keys.stored(record.tenant), record.bytes)
            if record.expires_at:
                pipe.zadd(keys.EXPIRING, {record.id: record.expires_at})
            await pipe.execute()

    async def owned_by(self, tenant: str, id: str) -> FileRecord | None:
        if not is_id(id, "file"):
            return None
        fields = await read_hash(self._redis, self._scripts, keys.file(id))
        if not fields or fields.get("tenant") != tenant:
            return None
        return self._record(fields)

    async def page(
        self, tenant: str, *, after: str | None, limit: int, oldest_first: bool = False
    ) -> tuple[list[FileRecord], bool]:
        """By age, from the one beyond `after`; and whether there are more."""
        of_tenant = keys.files_of(tenant)
        ids, more = await some_ids(self._redis, of_tenant, after=after, limit=limit, oldest_first=oldest_first)
        found = await read_hashes(self._redis, map(keys.file, ids))
        records = [self._record(fields) for fields in found if fields]
        return [record for record in records if record is not None], more

    async def stored_bytes(self, tenant: str) -> int:
        """Of all uploads, each counted once for each record that it has."""
        return int(await self._redis.get(keys.stored(tenant)) or 0)

    async def forget(self, record: FileRecord) -> None:
        """Its bytes go with it, unless another of the tenant's files has the same. In the tenant's turn; may be
        repeated: what was cut off in between is done then."""
        others = await self._uploads_of_others(record)
        if record.upload not in others:
            hashes = await asyncio.to_thread(self._only_in, record.upload, others)
            if hashes:
                await self._tell_forgotten(record.tenant, hashes)
            await self._delete_bytes(record.upload)
        is_gone = await self._redis.delete(keys.file(record.id))
        if record.upload not in others:
            await self._delete_bytes(record.upload)  # thumbnails that were drawn meanwhile
        if not is_gone:
            return  # someone was faster, and has counted it
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(keys.files_of(record.tenant), record.id)
            pipe.zrem(keys.EXPIRING, record.id)
            pipe.incrby(keys.stored(record.tenant), -record.bytes)
            await pipe.execute()

    async def drop_unless_kept(self, tenant: str, upload: str) -> None:
        """An upload's bytes, if no record has them. In the tenant's turn."""
        files = fields_of_all(self._redis, keys.files_of(tenant), keys.file, ["upload"], at_once=READ)
        if upload.encode() not in {place async for _, (place,) in files}:
            await self._delete_bytes(upload)

    async def _delete_bytes(self, upload: str) -> None:
        """The upload's, and all that was made of it."""
        await asyncio.to_thread(self._blobs.delete_beginning_with, upload)

    async def _uploads_of_others(self, record: FileRecord) -> set[str]:
        """Places of the tenant's other files, also of records that cannot be read."""
        files = fields_of_all(self._redis, keys.files_of(record.tenant), keys.file, ["upload"], at_once=READ)
        return {place.decode() async for id, (place,) in files if place and id != record.id}

    async def forgotten(self, since: float) -> list[Forgotten]:
        """Pictures that no file has any more, since then, oldest first."""
        found = await self._redis.zrange(keys.FORGOTTEN, 0, -1, withscores=True)
        return [Forgotten(place.decode(), at) for place, at in found if at > since]

    async def sweep_forgotten(self, before: float) -> None:
        """What every worker that was there has seen."""
        for place in await self._redis.zrangebyscore(keys.FORGOTTEN, "-inf", before, 0, READ):
            await asyncio.to_thread(self._blobs.delete, place.decode())
            await self._redis.zrem(keys.FORGOTTEN, place.decode())

    async def _tell_forgotten(self, tenant: str, hashes: set[str]) -> None:
        place = places.forgotten(tenant, new_id("file"))
        content = b"".join(map(bytes.fromhex, sorted(hashes)))
        await asyncio.to_thread(self._blobs.put, place, content)
        seconds, micros = await self._redis.time()
        await self._redis.zadd(keys.FORGOTTEN, {place: seconds + micros / 1e6})

    def _only_in(self, upload: str, others: set[str]) -> set[str]:
        """Hashes of its pictures, in whichever layout, that are in none of the others."""
        hashes = set(self._hashes(upload))
        for other in others if hashes else ():
            hashes.difference_update(self._hashes(other))
        return hashes

    def _hashes(self, upload: str) -> Iterator[str]:
        for place in self._blobs.beginning_with(upload):
            if place.endswith(".index"):
                with suppress(FileNotFoundError):
                    yield from (image.sha256 for image in read_index(self._blobs.where(place)))

    async def expired(self, now: float) -> list[FileRecord]:
        ids = await self._redis.zrangebyscore(keys.EXPIRING, "-inf", now, 0, READ)
        found = await read_hashes(self._redis, [keys.file(id.decode()) for id in ids])
        return [record for fields in found if fields and (record := self._record(fields))]

    @staticmethod
    def _record(fields: Mapping[str, str]) -> FileRecord | None:
        try:
            return FileRecord.of_fields(fields)
        except (KeyError, ValueError) as error:
            say_once(f"file {fields.get('id')}", str(error))
            return None

    async def laid_out(self, record: FileRecord, layout: Layout | None) -> FileRecord | None:
        """The file as another layout reads it; None where it was not listed so yet."""
        if layout is None or layout == record.layout:
            return record
        read = await self.read_at(record, places.index(record.upload, layout.digest))
        return read and replace(read, layout=layout)

    async def read_at(self, record: FileRecord, index: str | None) -> FileRecord | None:
        """The file by another of its indexes; None where that is not there."""
        if index is None:
            return record
        with suppress(FileNotFoundError):
            report = await self.report(replace(record, index=index))
            return replace(record, index=index, contents=report.contents, findings=tuple(report.short))
        return None

    async def report(self, record: FileRecord) -> DataReport:
        """Raises FileNotFoundError."""
        content = await asyncio.to_thread(self._blobs.get, places.report(record.index))
        return DataReport.model_validate_json(content)

    def where(self, record: FileRecord) -> ArchivePaths:
        """The archive and its index, for a trainer to read."""
        try:
            data, index = self._blobs.where(record.data), self._blobs.where(record.index)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"the bytes of {record.id} ({record.filename}) are no longer in the file store"
            ) from None
        return ArchivePaths(data=data, index=index)
