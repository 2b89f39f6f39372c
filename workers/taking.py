"""How a worker comes by its jobs: one at a time, as soon as a hint comes, or when it is time to look at the line."""

import asyncio
import logging
import time
from typing import NoReturn

from redis.exceptions import RedisError

from services.process.ending import end
from services.settings import Settings
from services.store.leases import Claim, Fenced
from services.store.store import Store
from workers.helping import Helping
from workers.spare import Spare
from workers.supervisor import supervise
from workers.worker import LocalWorker

log = logging.getLogger("headway.worker")


class Taking:
    def __init__(self, worker: LocalWorker, spare: Spare, helping: Helping, config: Settings, store: Store) -> None:
        self._worker, self._spare, self._helping = worker, spare, helping
        self._config, self._store = config, store
        self._turn, self._hinted = asyncio.Lock(), asyncio.Event()
        self._idle_since = time.monotonic()

    async def take(self) -> None:
        """The first job in line that this worker may take, to its end; where there is none, it helps another."""
        self._hinted.set()  # who helps looks at once
        async with self._turn:
            if not self._worker.duty.begin():
                return
            try:
                await self._one_job()
            finally:
                self._worker.duty.end()
                soon = self._config.timing.consumer_wakes
                asyncio.get_running_loop().call_later(soon, self._worker.consumption.wake)

    async def look_again_and_again(self) -> NoReturn:
        """Hints may be lost, refused or never come: an idle worker looks at the line itself."""
        while True:
            if not self._turn.locked():
                try:
                    await self.take()
                except Exception:  # whatever it is, the next look is due
                    log.exception("a job could not be taken")
                self._leave_if_nothing_comes()
            await asyncio.sleep(self._config.timing.look_every)

    def _leave_if_nothing_comes(self) -> None:
        """A job that comes in this very moment is finished first."""
        most, since = self._config.worker_idle, max(self._idle_since, self._helping.ended_at)
        if most is not None and time.monotonic() - since > most:
            log.info("no job for %g s: this worker ends", most)
            self._worker.duty.leave()

    async def has_ended(self) -> None:
        """Once no job is worked on."""
        async with self._turn:
            return

    async def _one_job(self) -> None:
        claim = await self._claimed() or await self._helped_until_claimed()
        if claim is None:
            return  # another worker was faster, or the work is for others: the message was only a hint
        self._worker.job = claim.job
        try:
            await supervise(self._store, claim, self._config, self._worker.duty, self._spare.take)
        except (RedisError, Fenced) as error:
            log.warning("%s: this attempt's end is the reaper's to say (%s)", claim.job, type(error).__name__)
        finally:
            self._worker.job = None
            self._idle_since = time.monotonic()
        if self._worker.duty.takes_jobs:
            await asyncio.to_thread(self._spare.prepare)  # now: before, it would have taken the running job's time

    async def _claimed(self) -> Claim | None:
        try:
            claim = await self._store.leases.claim_next(self._worker.profile)
        except RedisError:
            return None  # the next look, or hint, may find it
        self._worker.looked_at = int(time.time())
        return claim

    async def _helped_until_claimed(self) -> Claim | None:
        """Help is given only while there is no job: then, and for a drain, it ends at once."""
        helping = asyncio.create_task(self._helping.help())
        try:
            while self._worker.duty.takes_jobs:
                self._hinted.clear()
                hinted = asyncio.create_task(self._hinted.wait())
                await asyncio.wait(
                    {helping, hinted}, timeout=self._config.timing.yield_every, return_when=asyncio.FIRST_COMPLETED
                )
                hinted.cancel()
                if helping.done():
                    break
                if self._worker.duty.takes_jobs and (claim := await self._claimed()):
                    return claim
            return None
        finally:
            await end(helping)
