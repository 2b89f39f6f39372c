"""A helper's trainer at work on one pass: shards are leased for it, and what it computes is brought."""

import asyncio
import logging
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

from redis.exceptions import RedisError

from services.contract.lines import FailedLine
from services.contract.shards import ReadyLine, SegmentLine
from services.process.ending import end
from services.settings import Settings
from services.store import places
from services.store.record import JobRecord
from services.store.shards import Brought, Wanted
from services.store.store import Store
from workers.child import Child, memory_of_trainers

log = logging.getLogger("headway.worker")

AHEAD = 3  # shards that are handed out: its pipeline has three batches under way, of a shard each at the least


class Hand:
    def __init__(self, store: Store, record: JobRecord, child: Child, folder: Path, helper: str) -> None:
        self._store, self._record, self._child, self._folder, self._helper = store, record, child, folder, helper
        self._out: set[int] = set()  # shards that are handed out
        self._is_last = False  # of them: there are no more to lease
        self.has_brought = False

    async def work(self, config: Settings) -> None:
        """Until no shard is free, or the pass is over. Raises RedisError, OSError, TrainerSilent."""
        renewal = asyncio.create_task(self._renew(config))
        try:
            async for line in self._child.lines(config.timing):
                match line:
                    case ReadyLine():
                        await self._lease_more()
                    case SegmentLine():
                        self._out.discard(line.shard)
                        if not await self._bring(line):
                            return
                        await self._lease_more()
                    case FailedLine():
                        log.warning("%s: its helper failed: %s", self._record.id, line.message)
        finally:
            await end(renewal)

    async def _renew(self, config: Settings) -> None:
        """Its leases, which others would take; and its memory, which is bounded as any trainer's."""
        most = memory_of_trainers(config)
        while self._child.memory() <= most:
            await asyncio.sleep(config.timing.shard_lease / 4)
            with suppress(RedisError):
                await self._store.shards.renew(self._record, self._helper, sorted(self._out))
        log.warning("%s: its helper took more than %d bytes of memory", self._record.id, most)
        self._child.kill()

    async def _lease_more(self) -> None:
        """As long as there are any; then the trainer is told that no other comes, and ends with the last."""
        while len(self._out) < AHEAD and not self._is_last:
            shard = await self._store.shards.lease(self._record, self._helper)
            if shard is None:
                self._is_last = True
                await asyncio.to_thread(self._child.end_input)
            else:
                self._out.add(shard)
                await self._child.tell(str(shard))

    async def _bring(self, line: SegmentLine) -> bool:
        """Whether the pass goes on. Nothing is left of a segment that nobody wants."""
        assert self._record.plan is not None
        path = self._folder / line.path
        content = await asyncio.to_thread(path.read_bytes)
        path.unlink()
        shared = self._record.plan.place.rpartition("/")[0]
        place = places.segment(shared, f"{line.shard}-{uuid.uuid4().hex}")
        await self._put(place, content)
        brought = Brought(shard=line.shard, place=place, crc32=zlib.crc32(content), helper=self._helper)
        wanted = None
        try:
            wanted = await self._store.shards.bring(self._record, brought, line.seconds)
        finally:
            if wanted is not Wanted.YES:
                await asyncio.to_thread(self._delete, place)
        if wanted is Wanted.GONE:
            await asyncio.to_thread(self._store.blobs.delete_folder, shared)
        self.has_brought = True
        return wanted is not Wanted.GONE

    async def _put(self, place: str, content: bytes) -> None:
        """Where this is cancelled meanwhile, the thread goes on: nothing is left of what it puts."""
        putting = asyncio.ensure_future(asyncio.to_thread(self._store.blobs.put, place, content))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            putting.add_done_callback(lambda _: loop.run_in_executor(None, self._delete, place))
            raise

    def _delete(self, place: str) -> None:
        with suppress(OSError):
            self._store.blobs.delete(place)
