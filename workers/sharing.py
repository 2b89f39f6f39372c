"""The owner's side of a shared pass: its plan is published, what helpers bring is fetched and told to the trainer.

All of it only hastens: where Redis or the store of bytes refuses, the owner computes the rest itself.
"""

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from redis.exceptions import RedisError

from services.contract.events import NewEvent
from services.contract.shards import PlanLine, SharedNews
from services.contract.timing import Timing
from services.store import places
from services.store.leases import Claim, Fenced
from services.store.shards import Brought, News
from services.store.store import Store
from workers import messages
from workers.child import Child

log = logging.getLogger(__name__)


class Sharing:
    """Of one attempt. `say` brings events to the job's stream."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        child: Child,
        folder: Path,
        timing: Timing,
        say: Callable[[Sequence[NewEvent]], Awaitable[None]],
    ) -> None:
        self._store, self._claim, self._child, self._folder = store, claim, child, folder
        self._timing, self._say = timing, say
        self._place = places.shared(claim.tenant, claim.job, claim.fence)
        self._watch: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._told = News([], [], 0)
        self._brought = 0

    async def clear(self) -> None:
        """Of what earlier attempts left, which nobody can use. Raises Fenced."""
        if self._claim.attempt == 1:
            return
        with suppress(RedisError, OSError):
            await self._store.shards.end(self._claim)
            passes = places.passes(self._claim.tenant, self._claim.job)
            await asyncio.to_thread(self._store.blobs.delete_folder, passes)

    async def begin(self, line: PlanLine) -> None:
        """Raises Fenced."""
        plan = places.plan(self._place)
        with suppress(RedisError, OSError):
            await asyncio.to_thread(self._store.blobs.put_file, plan, self._folder / line.path)
            self._watch = asyncio.create_task(self._watch_helpers())
            await self._store.shards.share(self._claim, line.shards, plan, line.size)
            await self._call_for_help(line.shards)

    async def take(self, shard: int) -> None:
        """The owner computes it. Raises Fenced."""
        if self._watch is not None:
            with suppress(RedisError):
                await self._store.shards.take(self._claim, shard)

    async def end(self) -> None:
        """All features are there, or the attempt is over."""
        watch, self._watch = self._watch, None
        if watch is None:
            return
        self._over.set()
        await watch  # not cancelled: an event that it is telling has its number
        with suppress(RedisError, Fenced):
            await self._store.shards.end(self._claim)
        with suppress(OSError):  # it is swept
            await asyncio.to_thread(self._store.blobs.delete_folder, self._place)

    async def _call_for_help(self, shards: int) -> None:
        """A hint for each worker that is idle; they look by themselves, too."""
        kind = self._claim.worker.kind
        idle = sum(worker.kind == kind and worker.status == "idle" for worker in await self._store.workers.all())
        for _ in range(min(idle, shards)):
            await self._store.hints.publish(kind)

    async def _watch_helpers(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.share_every):
                    await self._over.wait()
            try:
                await self._look()
            except (RedisError, OSError, Fenced) as error:  # the next look may find more; the attempt sees for itself
                log.info("%s: no news of helpers (%s)", self._claim.job, error)

    async def _look(self) -> None:
        news = await self._store.shards.news(self._claim, since=self._brought)
        paths = [path for each in news.brought if (path := await asyncio.to_thread(self._fetched, each)) is not None]
        self._brought += len(news.brought)
        if paths or news.leased != self._told.leased:
            told = SharedNews(leased=news.leased, brought=[str(path) for path in paths])
            await self._child.tell(told.model_dump_json())
        if news.helpers != self._told.helpers:
            await self._say([messages.of_helpers(news.helpers)])
        self._told = news

    def _fetched(self, brought: Brought) -> Path | None:
        """As a local file; None where it is not what was brought: then its shard is computed again."""
        path = self._folder / f"{brought.shard}.brought"
        try:
            content = self._store.blobs.get(brought.place)
            self._store.blobs.delete(brought.place)
            if zlib.crc32(content) != brought.crc32:
                log.warning("%s: shard %d came damaged from %s", self._claim.job, brought.shard, brought.helper)
                return None
            path.write_bytes(content)
        except OSError as error:
            log.warning("%s: shard %d cannot be fetched (%s)", self._claim.job, brought.shard, error)
            return None
        return path
