"""An idle worker helps: it computes shards of another one's pass, until it has a job of its own to do.

Whoever helps matches the job's weights and, to the bit, its owner's fingerprint. A helper that is killed, frozen or cut
off costs its shards' time: its owner does them again.
"""

import asyncio
import logging
import shutil
import tempfile
import uuid
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

from redis.exceptions import RedisError

from services.contract.errors import DataUnreadable
from services.contract.lines import FailedLine
from services.contract.shards import HelperSpec, SegmentLine
from services.contract.spec import Prepared
from services.contract.transitions import Status
from services.settings import Settings
from services.store import places
from services.store.record import JobRecord
from services.store.shards import Brought, Wanted
from services.store.store import Store
from workers.child import Child, TrainerSilent
from workers.handover import archives, work_folder
from workers.worker import LocalWorker
from workers.zygote import Process, Start, discard

log = logging.getLogger("headway.worker")

HELPER = "workers.trainer.helper"  # the module that is run
AHEAD = 3  # shards that are handed out before one is back: a pipeline never waits for the next


class Helping:
    def __init__(self, worker: LocalWorker, config: Settings, store: Store, start: Start) -> None:
        self._worker, self._config, self._store, self._start = worker, config, store, start

    async def help(self) -> None:
        """With the pass that needs it most, as long as a shard of it is free; at once, where there is none."""
        try:
            for record in await self._passes():
                shard = await self._store.shards.lease(record, self._worker.profile.id)
                if shard is not None:
                    await self._help_with(record, shard)
                    return
        except (RedisError, OSError, TrainerSilent, DataUnreadable) as error:
            log.info("helped no further (%s)", error)

    async def _passes(self) -> list[JobRecord]:
        """That this worker can help with: first of the tenant that has the fewest helpers, then the oldest."""
        records = [await self._store.jobs.get(id) for id in await self._store.shards.shared()]
        fitting = [record for record in records if record is not None and self._fits(record)]
        helpers = {record.id: await self._store.shards.helpers(record.id) for record in fitting}
        of_tenant = Counter[str]()
        for record in fitting:
            of_tenant[record.tenant] += helpers[record.id]
        return sorted(fitting, key=lambda record: (of_tenant[record.tenant], helpers[record.id]))

    def _fits(self, record: JobRecord) -> bool:
        binding, profile = record.binding, self._worker.profile
        if binding is None or record.plan is None or record.status is not Status.RUNNING:
            return False
        computed = profile.precisions.get(binding.precision)
        return (
            binding.kind == profile.kind
            and computed is not None
            and binding.fingerprint == computed.fingerprint
            and binding.weights == profile.weights(record.spec)
        )

    async def _help_with(self, record: JobRecord, first: int) -> None:
        """Until nothing of it is free."""
        self._worker.helps = record.id
        folder = Path(tempfile.mkdtemp(prefix=f"{record.id}-helper-", dir=work_folder(self._config)))
        child = None
        try:
            spec = await self._spec(record, folder)
            child = Child(await self._started())
            await child.tell(spec.model_dump_json())
            await Hand(self._store, record, child, folder, self._worker.profile.id).work(first, self._config)
        finally:
            self._worker.helps = None
            if child is not None:
                await asyncio.to_thread(child.discard)
            shutil.rmtree(folder, ignore_errors=True)

    async def _started(self) -> Process:
        """None is left behind where this is cancelled while it starts."""
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, HELPER))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(lambda started: discard(started.result()))
            raise

    async def _spec(self, record: JobRecord, folder: Path) -> HelperSpec:
        """Raises OSError, DataUnreadable."""
        assert record.plan is not None
        assert record.binding is not None
        plan = folder / "plan"
        plan.write_bytes(await asyncio.to_thread(self._store.blobs.get, record.plan.place))
        computed = self._worker.profile.precisions[record.binding.precision]
        return HelperSpec(
            prepared=Prepared(
                device=self._worker.profile.device,
                weights=self._config.weights_source(record.spec.weights),
                precision=record.binding.precision,
                engine=computed.engine,
            ),
            archives=await archives(self._store, record.tenant, record.spec),
            plan=str(plan),
            size=record.plan.size,
            out=str(folder),
            timing=self._config.timing.trainer,
        )


class Hand:
    """One helper's trainer at work on one pass."""

    def __init__(self, store: Store, record: JobRecord, child: Child, folder: Path, helper: str) -> None:
        self._store, self._record, self._child, self._folder, self._helper = store, record, child, folder, helper
        self._out = 0  # shards that are handed out
        self._is_last = False  # of them: there are no more to lease

    async def work(self, first: int, config: Settings) -> None:
        """Raises RedisError, OSError, TrainerSilent."""
        await self._hand_out(first)
        await self._lease_more()
        async for line in self._child.lines(config.timing):
            match line:
                case SegmentLine():
                    self._out -= 1
                    if not await self._bring(line):
                        return
                    await self._lease_more()
                case FailedLine():
                    log.warning("%s: its helper failed: %s", self._record.id, line.message)

    async def _lease_more(self) -> None:
        """As long as there are any; then the trainer is told that no other comes, and ends with the last."""
        while self._out < AHEAD and not self._is_last:
            shard = await self._store.shards.lease(self._record, self._helper)
            if shard is None:
                self._is_last = True
                await asyncio.to_thread(self._child.end_input)
            else:
                await self._hand_out(shard)

    async def _hand_out(self, shard: int) -> None:
        self._out += 1
        await self._child.tell(str(shard))

    async def _bring(self, line: SegmentLine) -> bool:
        """Whether the pass goes on. Nothing is left of a segment that nobody wants."""
        path = self._folder / line.path
        content = await asyncio.to_thread(path.read_bytes)
        path.unlink()
        assert self._record.plan is not None
        shared = self._record.plan.place.rpartition("/")[0]
        place = places.segment(shared, f"{line.shard}-{uuid.uuid4().hex}")
        brought = Brought(shard=line.shard, place=place, crc32=zlib.crc32(content), helper=self._helper)
        wanted = None
        try:
            await asyncio.to_thread(self._store.blobs.put, place, content)
            wanted = await self._store.shards.bring(self._record, brought, line.seconds)
        finally:
            if wanted is not Wanted.YES:
                with suppress(OSError):
                    await asyncio.to_thread(self._store.blobs.delete, place)
            if wanted is Wanted.GONE:
                await asyncio.to_thread(self._store.blobs.delete_folder, shared)
        return wanted is not Wanted.GONE
