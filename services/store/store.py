"""The store as its users hold it: one Redis connection pool, one store of bytes, and what is kept in them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.exceptions import RedisError

from services.settings import Settings
from services.store import places
from services.store.address import is_watched, refusal_to_connect
from services.store.autoscaling import Autoscaling
from services.store.blobs import Blobs, blobs_at, refusal_to_keep
from services.store.checkpoints import Checkpoints
from services.store.commands import Redis
from services.store.connection import (
    Outage,
    Patience,
    connected,
    outage_of_this_process,
    refusal_to_use,
    warning_of_replicas,
)
from services.store.events import Events
from services.store.feeds import Feed
from services.store.files import Files
from services.store.hints import Hints, celery
from services.store.history import History
from services.store.jobs import Jobs
from services.store.leases import Leases
from services.store.models import Models
from services.store.pending import PendingUploads
from services.store.rates import Rates
from services.store.record import JobRecord
from services.store.scripts import Scripts
from services.store.shards import Shards
from services.store.submissions import Submissions
from services.store.tokens import StreamTokens
from services.store.turns import Turns
from services.store.webhooks import Webhooks
from services.store.workers import Workers

LABELS_SHOWN = 1000


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    redis: Redis
    outage: Outage
    blobs: Blobs
    jobs: Jobs
    leases: Leases
    models: Models
    events: Events
    checkpoints: Checkpoints
    files: Files
    hints: Hints
    workers: Workers
    history: History
    submissions: Submissions
    turns: Turns
    autoscaling: Autoscaling
    stream_tokens: StreamTokens
    pending_uploads: PendingUploads
    rates: Rates
    shards: Shards
    webhooks: Webhooks
    retention_days: float | None

    def feed(self, tenant: str) -> Feed:
        return Feed(self.redis, tenant)

    async def labels(self, record: JobRecord) -> list[str] | None:
        """A job's, where they are few enough to be shown."""
        return None if record.spec.num_labels > LABELS_SHOWN else await self.trained_labels(record)

    async def trained_labels(self, record: JobRecord) -> list[str] | None:
        """All of a job's, by the outputs of its head; None once neither file nor model is left."""
        file = await self.files.owned_by(record.tenant, record.spec.training_file)
        read = file and await self.files.read_at(file, record.spec.index)
        if read is not None:
            return read.contents.names
        model = await self.models.of_job(record.tenant, record.id)
        return await self.models.labels(model) if model else None

    async def forget(self, record: JobRecord) -> None:
        """Remove an ended job with its models and checkpoints. Its training data stays."""
        await self._delete_folders(record)
        await self.submissions.forget(record.id)
        await self.jobs.forget(record.id, record.tenant)
        await self._delete_folders(record)  # what was put away meanwhile

    async def _delete_folders(self, record: JobRecord) -> None:
        for place in places.of_job(record.tenant, record.id):
            await asyncio.to_thread(self.blobs.delete_folder, place)


async def refusal_to_start(settings: Settings) -> str | None:
    """Why a process must not start with this Redis or store of bytes, as it would lose jobs. What is away may come
    back."""
    if refusal := refusal_to_connect(settings.store_url) or await asyncio.to_thread(refusal_to_keep, settings.files_at):
        return refusal
    async with connected(settings.store_url, settings.timing) as redis:
        try:
            refusal = await refusal_to_use(redis, trusted=settings.redis_durable == "trusted")
            if refusal is None and is_watched(settings.store_url) and (warning := await warning_of_replicas(redis)):
                log.warning("%s", warning)
            return refusal
        except RedisError as error:
            outage_of_this_process(settings.timing).is_seen(error)
            return None


@asynccontextmanager
async def open_store(
    settings: Settings, *, patience: float | None = None, connections: int | None = None
) -> AsyncIterator[Store]:
    """`patience`: for how many seconds a script is asked again while Redis is away, if not for `timing.patience`.
    `connections` to Redis at most."""
    timing = settings.timing
    async with connected(settings.store_url, timing, connections=connections) as redis:
        outage = outage_of_this_process(timing)
        scripts = Scripts(redis, Patience(timing.patience if patience is None else patience, timing, outage))
        jobs, blobs = Jobs(redis, scripts), blobs_at(settings.files_at)
        events, checkpoints = Events(redis, scripts, blobs), Checkpoints(redis, scripts, blobs)
        yield Store(
            redis=redis,
            outage=outage,
            blobs=blobs,
            jobs=jobs,
            leases=Leases(redis, scripts, jobs, timing),
            models=Models(redis, scripts, blobs, jobs),
            events=events,
            checkpoints=checkpoints,
            history=History(redis, scripts, blobs, events, checkpoints),
            files=Files(redis, scripts, blobs),
            hints=Hints(redis, celery(settings.store_url, timing)),
            workers=Workers(redis, scripts, timing),
            submissions=Submissions(redis, scripts),
            turns=Turns(scripts, timing),
            autoscaling=Autoscaling(redis, scripts),
            stream_tokens=StreamTokens(redis, timing),
            pending_uploads=PendingUploads(redis, scripts, timing),
            rates=Rates(scripts, timing),
            shards=Shards(redis, scripts, jobs, timing),
            webhooks=Webhooks(redis, scripts, timing),
            retention_days=settings.retention_days,
        )
