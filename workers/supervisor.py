"""The life of an attempt: hand over, start the trainer, renew the lease, relay what it says, settle.

The supervisor owns the job while its title (fence and nonce) holds. Everything it writes carries the title; whatever
answers that it no longer holds ends the attempt at once, without another word.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from redis.exceptions import RedisError

from services import tracing
from services.contract.errors import JobFailure, OutOfMemory, TimeLimit
from services.contract.spec import TrainerSpec
from services.contract.transitions import Status
from services.process.ending import end
from services.settings import Settings
from services.store.connection import is_away
from services.store.leases import Claim, Fenced
from services.store.store import Store
from workers.child import Child, memory_of_trainers, started
from workers.duty import Duty
from workers.handover import trainer_spec, work_folder
from workers.outcome import Outcome, os_failure
from workers.relay import Relay
from workers.settle import fail, settle
from workers.zygote import Process

log = logging.getLogger(__name__)

StartTrainer = Callable[[], Process]


async def supervise(store: Store, claim: Claim, settings: Settings, duty: Duty, start: StartTrainer) -> None:
    """Carry one attempt from its claim to its end. Raises Fenced or RedisError where that can no longer be said: the
    reaper will say it."""
    log.info("%s: attempt %d", claim.job, claim.attempt)
    facts: dict[str, str | int] = {"job": claim.job, "attempt": claim.attempt, "worker": claim.worker.id}
    with tracing.span("attempt", claim.trace, **facts):
        tracing.told("claim", time.time() - (time.monotonic() - claim.sent), time.time())
        await _carry_out(store, claim, settings, duty, start)


async def _carry_out(store: Store, claim: Claim, settings: Settings, duty: Duty, start: StartTrainer) -> None:
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{claim.job}-", dir=work_folder(settings)))
    except OSError as error:
        await store.leases.fail(claim, os_failure(error))
        return
    try:
        spec = await trainer_spec(store, claim, settings, folder)
        child = await started(start)
    except (JobFailure, OSError) as error:
        await fail(store, claim, error if isinstance(error, JobFailure) else os_failure(error), settings.timing)
    else:
        await Supervisor(store, claim, settings, folder, duty, child).run(spec)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Supervisor:
    """Of one trainer."""

    def __init__(self, store: Store, claim: Claim, config: Settings, folder: Path, duty: Duty, child: Child) -> None:
        self._store, self._claim, self._timing, self._folder = store, claim, config.timing, folder
        self._duty, self._child = duty, child
        self._memory = memory_of_trainers(config)
        self._outcome = Outcome()
        self._relay = Relay(store, claim, self._outcome, folder, config.timing, self._heed)

    async def run(self, spec: TrainerSpec) -> None:
        """Raises Fenced, RedisError."""
        renewal = asyncio.create_task(self._renew())
        try:
            giving = asyncio.create_task(self._child.give(spec))  # it waits until the trainer reads, which may hang
            await self._relay.run(self._child)
            await giving
            await settle(self._store, self._relay, await self._child.wait(), spec.labels, self._timing)
        finally:
            await end(renewal)

    async def _renew(self) -> None:
        """Keep the lease and the time limit. A timer of its own kills the trainer before the lease can end."""
        loop = asyncio.get_running_loop()
        safe = self._timing.lease - self._timing.lease_margin
        guard = loop.call_at(self._claim.sent + safe, self._child.kill)
        try:
            while not self._is_out_of_time() and not self._is_out_of_memory():
                sent = loop.time()
                try:
                    wish = await self._store.leases.renew(self._claim)
                except RedisError as error:  # the guard's time runs
                    if not is_away(error):
                        log.exception("%s: its lease was not renewed", self._claim.job)
                else:
                    guard.cancel()
                    guard = loop.call_at(sent + safe, self._child.kill)
                    if wish.drain:
                        self._duty.leave()
                    self._heed(wish.status, drain=wish.drain)
                with contextlib.suppress(OSError):
                    os.utime(self._folder)  # it is in use
                await asyncio.sleep(self._timing.renew_every)
        except Fenced:
            self._outcome.fenced = True
        finally:  # also where it is cancelled: the trainer has ended by then
            guard.cancel()
            self._child.kill()

    def _is_out_of_time(self) -> bool:
        """Whether all attempts together have used up `limits.max_seconds`."""
        limit = self._claim.spec.limits.max_seconds
        if limit is None or self._claim.device_seconds + time.monotonic() - self._claim.sent <= limit:
            return False
        self._outcome.failed = TimeLimit(f"The job ran longer than limits.max_seconds = {limit:g}.")
        return True

    def _is_out_of_memory(self) -> bool:
        """Whether the trainer takes more than it may: it is ended before the machine is."""
        taken = self._child.memory()
        if taken <= self._memory:
            return False
        self._outcome.lost = OutOfMemory(
            f"The trainer took {taken} bytes of memory and was ended: HEADWAY_TRAINER_MEMORY is {self._memory}."
        )
        return True

    def _heed(self, status: Status, *, drain: bool = False) -> None:
        """What the record says of the user's wish, and the worker's own."""
        if status is Status.CANCELLING:
            self._outcome.stop_asked = self._outcome.cancelled = True
            self._child.stop(grace=self._timing.cancel_grace)
        elif (status is Status.PAUSING or drain or self._duty.is_draining) and not self._outcome.stop_asked:
            self._outcome.stop_asked = True
            self._child.stop(grace=self._timing.stop_grace)
