"""The store as its users hold it: one Redis connection pool, one folder of bytes, and what is kept in them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.exceptions import RedisError

from services.settings import Settings
from services.store.checkpoints import Checkpoints
from services.store.connection import Redis, connected, outage, refusal_to_use
from services.store.events import Events
from services.store.files import Files, FileStore
from services.store.jobs import Jobs, Record
from services.store.leases import Leases
from services.store.queue import Hints, celery
from services.store.scaling import Autoscaling
from services.store.scripts import Scripts
from services.store.submissions import Submissions
from services.store.workers import Workers


@dataclass(frozen=True)
class Store:
    redis: Redis
    scripts: Scripts
    jobs: Jobs
    leases: Leases
    events: Events
    checkpoints: Checkpoints
    files: Files
    hints: Hints
    workers: Workers
    submissions: Submissions
    scaling: Autoscaling

    async def forget(self, record: Record) -> None:
        """Remove an ended job with its models and checkpoints. Its training data stays."""
        for kind in ("models", "checkpoints"):
            await asyncio.to_thread(self.files.bytes.delete_folder, f"{record.tenant}/{kind}/{record.id}")
        await self.jobs.forget(record.id, record.tenant)


async def refusal_to_start(settings: Settings) -> str | None:
    """Why a process must not start with this Redis, as it would lose jobs. One that is away may come back."""
    async with connected(settings.store_url) as redis:
        try:
            return await refusal_to_use(redis, trusted=settings.redis_durable == "trusted")
        except RedisError as error:
            outage.is_seen(error)
            return None


@asynccontextmanager
async def open_store(
    settings: Settings, *, patience: float = 2.0, connections: int | None = None
) -> AsyncIterator[Store]:
    """`patience`: for how many seconds a script is asked again while Redis is away. `connections` to Redis at most."""
    async with connected(settings.store_url, connections=connections) as redis:
        scripts = Scripts(redis, patience=patience)
        jobs = Jobs(redis, scripts)
        bytes = FileStore(settings.files_dir)
        yield Store(
            redis=redis,
            scripts=scripts,
            jobs=jobs,
            leases=Leases(redis, scripts, jobs),
            events=Events(redis, scripts),
            checkpoints=Checkpoints(redis, scripts, bytes),
            files=Files(redis, scripts, bytes),
            hints=Hints(redis, celery(settings.store_url)),
            workers=Workers(redis, scripts),
            submissions=Submissions(redis, scripts),
            scaling=Autoscaling(redis, scripts),
        )
