"""The autoscaler: each second it looks, decides, carries out, and tells.

Any number of them may run; a lock in Redis lets one work at a time. It keeps nothing that it could not find again:
one that takes over counts its cool-downs anew, and that is all.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from redis.exceptions import RedisError

from services.autoscaler.decide import (
    Look,
    Past,
    Rules,
    SeenWorker,
    SharedPass,
    WorkerState,
    decide,
    helpers_wanted,
    shares,
)
from services.autoscaler.providers import Provider, ProviderError
from services.autoscaler.watch import Sight, Watch
from services.contract.fleet import AutoscalerReport, Decision, Pool, Worker
from services.settings import Settings
from services.store import keys
from services.store.connection import is_away
from services.store.shards import most_helpers
from services.store.store import Store
from services.store.workers import Drain

log = logging.getLogger("headway.autoscaler")

ALL = "all kinds"  # what a problem of the provider itself concerns


@dataclass
class Memory:
    """What earlier looks left. Nothing is lost with it but time."""

    watch: Watch
    began: float
    looked: float
    past: dict[str, Past] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # by kind: why no worker could be started

    def of(self, kind: str) -> Past:
        return self.past.get(kind, Past(self.began))


class Autoscaler:
    def __init__(self, store: Store, provider: Provider, settings: Settings) -> None:
        self._store, self._provider, self._settings = store, provider, settings
        self._pools = settings.pools
        self._rules, self._timing = Rules.of(settings), settings.timing
        self._me = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._forget()

    async def run(self) -> None:
        """Forever."""
        while True:
            try:
                asked = time.monotonic()
                if await self._store.turns.take(keys.AUTOSCALER, self._me, seconds=self._timing.autoscaler_turn):
                    await self._one_pass(until=asked + self._timing.autoscaler_turn - self._timing.autoscaler_every)
                else:
                    self._forget()
                self._store.outage.is_over()
                self._settings.show_alive()
            except RedisError as error:
                self._forget()  # if workers were silent, it was not their fault
                if is_away(error):
                    self._store.outage.is_seen(error)
                else:
                    log.exception("a look failed")
            await asyncio.sleep(self._timing.autoscaler_every)

    async def _one_pass(self, until: float) -> None:
        """`until`, by time.monotonic(), nobody else acts."""
        if time.time() - self._memory.looked > self._timing.autoscaler_turn:  # the machine slept: nobody was silent
            self._forget()
        decisions: list[Decision] = []
        done: list[Decision] = []
        try:
            workers = await self._look(time.time())
            passes = await self._passes()
            decisions = self._decide(await self._store.jobs.waiting(), passes, workers, time.time())
            self._note_problem(ALL, None)
            for decision in decisions:
                if not decision.queued:
                    self._note_problem(decision.kind, None)  # nobody misses a worker
                done += await self._carried_out(decision, {worker.id: worker for worker in workers}, until)
        except ProviderError as error:
            self._note_problem(ALL, str(error))
        await self._tell(decisions, done)

    def _forget(self) -> None:
        now = time.time()
        watch = Watch(silence=self._rules.silence, ask_again=self._timing.ask_again)
        self._memory = Memory(watch, now, now)

    # --- look ----------------------------------------------------------------------------------------------------

    async def _look(self, now: float) -> list[SeenWorker]:
        instances = await asyncio.to_thread(self._provider.instances)
        reports = await self._store.workers.all()
        sight = self._memory.watch.look(instances, reports, now)
        self._memory.looked = now
        self._note_starts(sight, now)
        return [await self._with_progress(worker, sight, reports) for worker in sight.workers]

    def _note_starts(self, sight: Sight, now: float) -> None:
        """A worker that works ends the back-off of its kind."""
        for kind in sight.worked:
            self._memory.past[kind] = replace(self._memory.of(kind), failures=0)
            self._note_problem(kind, None)
        for kind, count in sight.failed.items():
            self._memory.past[kind] = self._memory.of(kind).with_failures(count, now)
            self._note_problem(kind, f"A worker on {kind} ended before it came to work; its log says why.")

    async def _with_progress(self, worker: SeenWorker, sight: Sight, reports: Sequence[Worker]) -> SeenWorker:
        """How far a busy one is: asked only where one of its kind has to go."""
        most = {pool.kind: pool.max for pool in self._pools}.get(worker.kind, 0)
        ours = sum(other.ours and other.kind == worker.kind for other in sight.workers)
        if worker.state is not WorkerState.BUSY or not worker.ours or ours <= most:
            return worker
        job = {report.id: report.job for report in reports}.get(self._memory.watch.worker_of(worker.id) or "")
        record = await self._store.jobs.get(job) if job else None
        progress = record.latest.progress if record else None
        return replace(worker, percent=progress.percent) if progress else worker

    async def _passes(self) -> list[SharedPass]:
        """That may be helped with, as far as it is known how long they take."""
        found = []
        for record in await self._store.shards.passes():
            progress = record.latest.progress
            if progress is not None and progress.phase == "features" and progress.eta_seconds:
                together = 1 + await self._store.shards.helpers(record.id)
                found.append(SharedPass(record.kind, progress.eta_seconds * together, most_helpers(record)))
        return found

    # --- decide --------------------------------------------------------------------------------------------------

    def _decide(
        self, waiting: Mapping[str, int], passes: Sequence[SharedPass], workers: Sequence[SeenWorker], now: float
    ) -> list[Decision]:
        closed = [pool.kind for pool in self._pools if self._memory.of(pool.kind).failures]
        share = shares(waiting, workers, self._pools, closed)
        return [self._decide_for(pool, share[pool.kind], passes, workers, now) for pool in self._pools]

    def _decide_for(
        self, pool: Pool, queued: int, passes: Sequence[SharedPass], workers: Sequence[SeenWorker], now: float
    ) -> Decision:
        past = self._memory.of(pool.kind)
        those = [worker for worker in workers if worker.kind == pool.kind]
        helping = helpers_wanted(passes, pool.kind, self._memory.watch.boots.get(pool.kind))
        if any(worker.state is WorkerState.IDLE and not worker.helps for worker in those):
            helping = min(helping, sum(worker.helps for worker in those))  # others like that one would not help either
        look = Look(queued, those, pool, past, self._rules, now, helping)
        self._memory.past[pool.kind] = past.after(look.needed, self._rules, now)
        return decide(look)

    # --- carry out -----------------------------------------------------------------------------------------------

    async def _carried_out(self, decision: Decision, workers: Mapping[str, SeenWorker], until: float) -> list[Decision]:
        """As much of it as could be done, if any."""
        started, drained = 0, []
        try:
            for id in decision.drain:
                if time.monotonic() < until and await self._end(workers[id]):
                    drained.append(id)
            for _ in range(decision.start):
                if time.monotonic() < until:
                    await self._start(decision.kind)
                    started += 1
        except ProviderError as error:
            self._note_problem(decision.kind, str(error))
        done = decision.model_copy(update={"start": started, "drain": drained})
        if done.acts:
            log.info("%s: %s", done.kind, done.reason)
        return [done] if done.acts else []

    async def _end(self, worker: SeenWorker) -> bool:
        """Whether it was asked. An idle worker ends once it has no job: it may be taking one just now."""
        id = self._memory.watch.worker_of(worker.id)
        if id is None or worker.state not in (WorkerState.IDLE, WorkerState.BUSY):
            await asyncio.to_thread(self._provider.stop, worker.id)
        elif not await self._store.workers.ask_to_drain(
            id, Drain.AFTER_JOB if worker.state is WorkerState.IDLE else Drain.NOW
        ):
            return False
        self._memory.watch.note_ask(worker.id, time.time())
        return True

    async def _start(self, kind: str) -> None:
        try:
            id = await asyncio.to_thread(self._provider.start, kind)
        except ProviderError:
            self._memory.past[kind] = self._memory.of(kind).with_failures(1, time.time())
            raise
        self._memory.watch.note_start(id, time.time())

    # --- tell ----------------------------------------------------------------------------------------------------

    def _note_problem(self, kind: str, problem: str | None) -> None:
        if problem is None:
            self._memory.problems.pop(kind, None)
        elif self._memory.problems.get(kind) != problem:
            log.warning("%s: %s", kind, problem)
            self._memory.problems[kind] = problem

    async def _tell(self, decisions: Sequence[Decision], done: Sequence[Decision]) -> None:
        report = AutoscalerReport(
            id=self._me,
            provider=self._provider.name,
            seen_at=time.time(),
            pools=self._pools,
            now=list(decisions),
            problem=" ".join(self._memory.problems.values()) or None,
        )
        await self._store.autoscaling.tell(report, done)
