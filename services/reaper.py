"""The reaper: returns lost jobs to the queue, publishes lost messages, moves what ended jobs left out of Redis, sweeps
what has had its time.

Any number of them may run; a lock in Redis lets one work at a time.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from redis.exceptions import RedisError

from services.contract.clock import Steady
from services.contract.errors import FilesAway
from services.contract.transitions import ENDED, Status
from services.process import daemon
from services.settings import Settings
from services.store import keys, places
from services.store.connection import is_away
from services.store.reading import say_once
from services.store.store import Store
from services.webhooks.delivering import Delivering

log = logging.getLogger("headway.reaper")


class Reaper:
    def __init__(self, store: Store, config: Settings) -> None:
        self._store, self._config, self._timing = store, config, config.timing
        self._me = secrets.token_hex(8)
        self._short: dict[str, int] = {}  # by kind, hints that were missing on the last pass
        self._not_before = 0.0
        self._announced: set[str] = set()  # ended jobs that go with the next pass
        self.steady, self.own_steady = Steady(self._timing), Steady(self._timing)
        self._drafts_swept = -math.inf

    async def run(self) -> None:
        """Forever. After Redis was away, leases get the time to be renewed before anything is taken for lost."""
        while True:
            try:
                if await self._is_my_turn():
                    await self.one_pass()
            except Exception as error:  # what this pass could not do, the next may
                if is_away(error):
                    self._not_before = time.monotonic() + self._timing.lease
                else:
                    log.exception("a pass failed")
            self._config.show_alive()
            await asyncio.sleep(self._timing.reaper_every)

    async def one_pass(self, *, shift: float = 0.0) -> None:
        """`shift` moves the clock, for tests."""
        if time.monotonic() >= self._not_before:
            await self._return_lost_jobs(shift)
        await self._store.jobs.take_back()
        await self._publish_lost_hints()
        await self._sweep()

    async def _return_lost_jobs(self, shift: float) -> None:
        if late := await self._store.leases.after_a_clock_that_went_back():
            log.warning(
                "Redis' clock went back: %d leases, heartbeats and deliveries end as if they were made now", late
            )

        async def return_one(id: str) -> None:
            status = await self._store.leases.reap(id, shift=shift)
            if status is not None:
                log.warning("%s: its worker was lost; now %s", id, status)
                await self._follow_up(id, status)

        await _each(await self._store.leases.expired(shift=shift), return_one)

    async def _follow_up(self, id: str, status: Status) -> None:
        """That a job waits again is said at once; what an ended one had begun to export is named by nobody."""
        record = await self._store.jobs.get(id)
        if record is not None and status is Status.QUEUED:
            await self._store.hints.publish(record.kind)
        elif record is not None and status in ENDED:
            for left in (places.models(record.tenant, id), places.passes(record.tenant, id)):
                await asyncio.to_thread(self._store.blobs.delete_folder, left)

    async def _publish_lost_hints(self) -> None:
        """What is missing on two passes running was lost, not under way."""
        missing = await self._store.hints.missing()
        for kind, count in missing.items():
            for _ in range(min(count, self._short.get(kind, 0))):
                await self._store.hints.publish(kind)
        self._short = missing

    async def _sweep(self) -> None:
        """Ended jobs go after HEADWAY_RETENTION_DAYS, with their models; so does what broken uploads left.

        By a clock that ran steadily for a while: one that jumps would take all for old. What is due is said first.
        """
        now, _ = await self._store.redis.time()
        if not self.steady.sees(now, time.monotonic()):
            return
        await self._sweep_drafts()
        await self._store.files.sweep_forgotten(now - self._timing.forgotten_kept)
        for file in await self._store.files.expired(now):
            if await self._store.jobs.needing(file.tenant, file.id) is None:
                async with self._store.turns.held(keys.files_turn(file.tenant)):
                    await self._store.files.forget(file)
                log.info("%s: gone, as its expires_after said", file.id)
        await _each(await self._store.history.due(now - round(self._timing.history_stays)), self._put_away)
        if self._config.retention_days is None:
            return
        due = await self._store.jobs.ended_before(now - self._config.retention_days * 86400)
        await _each([id for id in due if id in self._announced], self._forget)
        if new := set(due) - self._announced:
            log.warning("%d ended jobs are over HEADWAY_RETENTION_DAYS and go with the next pass", len(new))
        self._announced = set(due)

    async def _sweep_drafts(self) -> None:
        """Now and then: a store of objects is listed for it."""
        is_steady = self.own_steady.sees(time.time(), time.monotonic())  # files have the machine's own times
        if is_steady and time.monotonic() - self._drafts_swept > self._timing.draft_sweep:
            self._drafts_swept = time.monotonic()
            with suppress(FilesAway):
                await asyncio.to_thread(self._store.blobs.sweep_drafts, older_than=self._timing.abandoned_upload)

    async def _put_away(self, id: str) -> None:
        record = await self._store.jobs.get(id)
        if record is None:
            await self._store.history.pass_over(id)
        else:
            await self._store.history.put_away(record)

    async def _forget(self, id: str) -> None:
        record = await self._store.jobs.get(id)
        if record is not None:
            await self._store.forget(record)
            log.info("%s: forgotten after %g days", id, self._config.retention_days)

    async def _is_my_turn(self) -> bool:
        """The holder renews it at each pass."""
        return await self._store.turns.take(keys.REAPER, self._me, seconds=self._timing.reaper_turn)


async def _each(ids: Iterable[str], act: Callable[[str], Awaitable[None]]) -> None:
    """One that goes wrong, whatever it is, keeps none of the others waiting."""
    for id in ids:
        try:
            await act(id)
        except RedisError as error:
            if is_away(error):
                raise
            say_once(f"job {id}", str(error))
        except Exception as error:
            say_once(f"job {id}", repr(error))


async def _work(store: Store, config: Settings) -> None:
    """Beside its passes, which one reaper makes at a time, each of them delivers webhooks."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Reaper(store, config).run())
        tasks.create_task(Delivering(store, config).run())


if __name__ == "__main__":
    daemon.main(_work)
