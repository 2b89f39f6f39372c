"""An idle worker helps: it computes shards of another one's pass, until it has a job of its own to do.

Whoever helps matches the job's weights and, to the bit, its owner's fingerprint. A helper that is killed, frozen or cut
off costs its shards' time: its owner does them again.
"""

import asyncio
import logging
import math
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from redis.exceptions import RedisError

from services.contract.errors import DataUnreadable
from services.contract.shards import HelperSpec
from services.contract.spec import Prepared
from services.contract.transitions import Status
from services.settings import Settings
from services.store.record import JobRecord
from services.store.store import Store
from workers.child import Child, TrainerSilent, started
from workers.hand import Hand
from workers.handover import archives, work_folder
from workers.worker import LocalWorker
from workers.zygote import Start

log = logging.getLogger("headway.worker")

HELPER = "workers.trainer.helper"  # the module that is run


class Helping:
    def __init__(self, worker: LocalWorker, config: Settings, store: Store, start: Start) -> None:
        self._worker, self._config, self._store, self._start = worker, config, store, start
        self.ended_at = -math.inf  # when it last stopped, by the monotonic clock
        self._vain: set[tuple[str, int]] = set()  # attempts that this worker tried to help, and brought nothing

    async def help(self) -> None:
        """With the pass that needs it most, as long as a shard of it is free; at once, where there is none."""
        try:
            for record in await self._passes():
                if await self._store.shards.wants_help(record):
                    await self._help_with(record)
                    return
        except (RedisError, OSError, TrainerSilent, DataUnreadable) as error:
            log.info("helped no further (%s)", error)

    async def _passes(self) -> list[JobRecord]:
        """That this worker can help with: first of the tenant that has the fewest helpers, then the oldest."""
        passes = await self._store.shards.passes()
        self._vain &= {(record.id, record.fence) for record in passes}
        fitting = [record for record in passes if self._fits(record)]
        helpers = {record.id: await self._store.shards.helpers(record.id) for record in fitting}
        of_tenant = Counter[str]()
        for record in fitting:
            of_tenant[record.tenant] += helpers[record.id]
        return sorted(fitting, key=lambda record: (of_tenant[record.tenant], helpers[record.id]))

    def _fits(self, record: JobRecord) -> bool:
        binding, profile = record.binding, self._worker.profile
        if binding is None or record.status is not Status.RUNNING or (record.id, record.fence) in self._vain:
            return False
        computed = profile.precisions.get(binding.precision)
        return (
            binding.kind == profile.kind
            and computed is not None
            and binding.fingerprint == computed.fingerprint
            and binding.weights == profile.weights(record.spec)
        )

    async def _help_with(self, record: JobRecord) -> None:
        """Until nothing of it is free. Where it comes to nothing, it is not tried again."""
        attempt = record.id, record.fence
        self._worker.helps = record.id
        self._vain.add(attempt)
        folder = Path(tempfile.mkdtemp(prefix=f"{record.id}-helper-", dir=work_folder(self._config)))
        try:
            spec = await self._spec(record, folder)
            child = await started(self._start, HELPER)
            try:
                if await self._worked(record, child, spec):
                    self._vain.discard(attempt)
            finally:
                child.kill()
                await asyncio.to_thread(child.discard)
        except asyncio.CancelledError:
            self._vain.discard(attempt)  # it had no time
            raise
        finally:
            self._worker.helps, self.ended_at = None, time.monotonic()
            shutil.rmtree(folder, ignore_errors=True)

    async def _worked(self, record: JobRecord, child: Child, spec: HelperSpec) -> bool:
        """Whether it brought anything."""
        await child.tell(spec.model_dump_json())
        hand = Hand(self._store, record, child, Path(spec.out), self._worker.profile.id)
        await hand.work(self._config)
        return hand.has_brought

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
