"""Uploads that come in parts: what was announced, and which parts are there. Their bytes lie in the file store."""

import time
from dataclasses import dataclass

from services.contract.ids import is_id, new_id
from services.contract.timing import Timing
from services.contract.upload import NewUpload
from services.store import keys
from services.store.commands import Redis, Value
from services.store.scripts import Answer, Scripts

PART = "part "  # a field: its bytes, by its id


@dataclass(frozen=True)
class PendingUpload:
    id: str
    tenant: str
    created_at: int
    announced: NewUpload
    status: str
    file: str | None
    parts: dict[str, int]  # bytes by id


class PendingUploads:
    def __init__(self, redis: Redis, scripts: Scripts, timing: Timing) -> None:
        self._redis, self._scripts, self._seconds = redis, scripts, round(timing.abandoned_upload)

    async def new(self, tenant: str, announced: NewUpload) -> PendingUpload:
        id, now = new_id("upload"), int(time.time())
        fields: dict[str, str | int] = {
            "tenant": tenant,
            "created_at": now,
            "announced": announced.model_dump_json(),
            "status": "pending",
        }
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.pending_upload(id), mapping=fields)
            pipe.expire(keys.pending_upload(id), self._seconds)
            await pipe.execute()
        return PendingUpload(id, tenant, now, announced, "pending", None, {})

    async def owned_by(self, tenant: str, id: str) -> PendingUpload | None:
        if not is_id(id, "upload"):
            return None
        found = await self._redis.hgetall(keys.pending_upload(id))
        fields = {name.decode(): value.decode() for name, value in found.items()}
        if fields.get("tenant") != tenant:
            return None
        parts = {name.removeprefix(PART): int(size) for name, size in fields.items() if name.startswith(PART)}
        announced = NewUpload.model_validate_json(fields["announced"])
        return PendingUpload(
            id, tenant, int(fields["created_at"]), announced, fields["status"], fields.get("file"), parts
        )

    async def add_part(self, upload: PendingUpload, part: str, bytes: int) -> Answer:
        """REFUSED once it has ended, WAITS where more would have come than was announced."""
        args: list[Value] = [f"{PART}{part}", bytes, upload.announced.bytes]
        answer, _ = await self._scripts("add_part", [keys.pending_upload(upload.id)], args)
        return answer

    async def end(self, upload: PendingUpload, status: str, file: str | None = None) -> bool:
        """Once: False where it had ended."""
        answer, _ = await self._scripts("end_upload", [keys.pending_upload(upload.id)], [status, file or ""])
        return answer is Answer.OK

    def expires_at(self, upload: PendingUpload) -> int:
        return upload.created_at + self._seconds
