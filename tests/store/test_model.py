"""The job's life as a model: several workers, repeats, lost owners, wishes, in any order, on a real Valkey.

Each rule does to the store what may happen, and says what the table of transitions makes of it; after every step the
record, the queue, the running set and the stream must agree with the model.
"""

import asyncio
import hashlib
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from services.contract.errors import LossDiverged
from services.contract.events import NewEvent
from services.contract.ids import new_id
from services.contract.lines import CheckpointLine
from services.contract.progress import CheckpointMetrics
from services.contract.timing import Timing
from services.contract.transitions import ENDED, HANDED_BACK, OWNED, REQUESTS, Action, Status
from services.settings import Settings
from services.store import keys
from services.store.events import Batch, Point
from services.store.leases import Claim, Fenced
from services.store.scripts import LOSSES_CAP
from services.store.store import open_store
from tests.conftest import profile, result, spec

LEASE = Timing().lease
URL = ""  # of the session's Valkey; hypothesis makes the machines, so it cannot be handed in


@dataclass
class Model:
    """What a job should be."""

    status: Status = Status.QUEUED
    owner: Claim | None = None
    losses: int = 0
    checkpoint: int = -1
    steps: list[int] = field(default_factory=list)
    fences: list[int] = field(default_factory=list)

    def hand_back(self, *, counts: bool) -> None:
        self.losses += counts
        to = HANDED_BACK[self.status]
        self.status = Status.FAILED if to is Status.QUEUED and self.losses >= LOSSES_CAP else to
        self.owner = None


@dataclass
class Attempt:
    """A worker's own belief: it may be an old one."""

    claim: Claim
    batch: int = 0


class Life(RuleBasedStateMachine):
    jobs: Bundle[str] = Bundle("jobs")
    attempts: Bundle[Attempt] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.models: dict[str, Model] = {}
        self.stack = AsyncExitStack()

    @initialize()
    def empty(self) -> None:
        with redis.Redis.from_url(URL) as client:
            client.flushall()
        config = Settings(redis_url=URL, data_dir=Path(tempfile.gettempdir()))
        self.store = self._run(self.stack.enter_async_context(open_store(config)))

    def teardown(self) -> None:
        self._run(self.stack.aclose())
        self.runner.close()

    def _run(self, call: Any) -> Any:
        return self.runner.run(call)

    # --- what may happen -----------------------------------------------------------------------------------------

    @rule(target=jobs, repeats=st.integers(1, 2))
    def create(self, repeats: int) -> str:
        id = new_id("ftjob")
        for _ in range(repeats):
            self._run(self.store.jobs.create(id, "local", spec()))
        self.models[id] = Model()
        return id

    @rule(target=attempts, job=jobs, worker=st.sampled_from("abc"), repeats=st.integers(1, 2))
    def claim(self, job: str, worker: str, repeats: int) -> Attempt:
        model, nonce, me = self.models[job], new_id("n"), profile(worker)
        was_queued = model.status is Status.QUEUED
        for _ in range(repeats):
            claim = self._run(self.store.leases.claim(job, me, nonce=nonce))
            assert (claim is not None) == was_queued
        if claim is None:
            return Attempt(Claim(job, "local", spec(), me, nonce, 0, 0, 0, -1, -1, 0.0, "fp32", 0.0))
        model.status, model.owner = Status.RUNNING, claim
        model.fences.append(claim.fence)
        return Attempt(claim)

    @rule(attempt=attempts, repeats=st.integers(1, 2))
    def emit(self, attempt: Attempt, repeats: int) -> None:
        model = self.models[attempt.claim.job]
        step = len(model.steps) + 1
        attempt.batch += 1
        for _ in range(repeats):
            said, points = [NewEvent(created_at=0, message="m")], [Point("train_loss", step, 0.5)]
            batch = Batch(attempt.batch, said, points, last_step=step)
            owned = self._writes(attempt, self.store.events.emit(attempt.claim, batch))
        if owned:
            model.steps.append(step)

    @rule(attempt=attempts)
    def checkpoint(self, attempt: Attempt) -> None:
        model = self.models[attempt.claim.job]
        metrics = CheckpointMetrics(step=len(model.steps), epoch=0)
        digest = hashlib.sha256(b"head").hexdigest()
        line = CheckpointLine(number=model.checkpoint + 1, path="", sha256=digest, metrics=metrics)
        known = self._run(self.store.jobs.get(attempt.claim.job))
        if self._writes(attempt, self.store.checkpoints.put(attempt.claim, line, b"head", 0)):
            model.checkpoint += 1
            before = self._run(self.store.redis.hget(keys.job(known.id), "checkpoint_step"))
            assert int(before) >= len(model.steps)
            model.losses = int(self._run(self.store.redis.hget(keys.job(known.id), "losses")))

    @rule(attempt=attempts)
    def renew(self, attempt: Attempt) -> None:
        self._writes(attempt, self.store.leases.renew(attempt.claim))

    @rule(attempt=consumes(attempts), succeeds=st.booleans(), repeats=st.integers(1, 2))
    def end(self, attempt: Attempt, succeeds: bool, repeats: int) -> None:
        model = self.models[attempt.claim.job]
        owned = model.owner == attempt.claim
        for _ in range(repeats):
            leases, claim = self.store.leases, attempt.claim
            call = leases.finish(claim, result(), "", {}) if succeeds else leases.fail(claim, LossDiverged(""))
            self._attempt(call, expected=owned)
        if owned:
            model.status, model.owner = Status.SUCCEEDED if succeeds else Status.FAILED, None

    @rule(attempt=consumes(attempts), counts=st.booleans())
    def release(self, attempt: Attempt, counts: bool) -> None:
        model = self.models[attempt.claim.job]
        owned = model.owner == attempt.claim
        try:
            self._run(self.store.leases.release(attempt.claim, "code", "message", counts=counts))
        except Fenced:
            assert not owned
        if owned:
            model.hand_back(counts=counts)

    @rule(job=jobs, action=st.sampled_from([Action.CANCEL, Action.PAUSE, Action.RESUME]))
    def request(self, job: str, action: Action) -> None:
        model = self.models[job]
        to = REQUESTS[action].get(model.status)
        requested = self._run(self.store.jobs.request(job, action))
        assert requested.taken == (to is not None)
        model.status = to or model.status
        assert requested.status == model.status

    @rule(job=jobs, shift=st.sampled_from([0.0, LEASE + 1, -1000.0]))
    def reap(self, job: str, shift: float) -> None:
        model = self.models[job]
        lost = model.status in OWNED and shift > LEASE
        assert (self._run(self.store.leases.reap(job, shift=shift)) is not None) == lost
        if lost:
            model.hand_back(counts=True)

    def _writes(self, attempt: Attempt, call: Any) -> bool:
        return self._attempt(call, expected=self.models[attempt.claim.job].owner == attempt.claim)

    def _attempt(self, call: Any, *, expected: bool) -> bool:
        """Whether the write was taken, which it must be exactly where the attempt owns the job."""
        try:
            self._run(call)
        except Fenced:
            assert not expected
            return False
        assert expected
        return True

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def the_store_agrees(self) -> None:
        for id, model in self.models.items():
            record = self._run(self.store.jobs.get(id))
            assert record.status is model.status
            kind = record.kind
            assert (self._run(self.store.redis.zscore(keys.queued(kind), id)) is not None) == (
                model.status is Status.QUEUED
            )
            assert (self._run(self.store.redis.zscore(keys.RUNNING, id)) is not None) == (model.status in OWNED)
            assert (self._run(self.store.redis.zscore(keys.ENDED, id)) is not None) == (model.status in ENDED)
            entries = self._run(self.store.events.since(id, "0-0", limit=1000))
            ids = [tuple(map(int, entry.id.split("-"))) for entry in entries]
            assert ids == sorted(set(ids))
            assert sum(entry.final for entry in entries) == (model.status in ENDED)
            assert model.fences == sorted(set(model.fences))
            assert [point.step for point in self._run(self.store.events.points(id))] == model.steps


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lives", [12, pytest.param(200, marks=pytest.mark.nightly)])
def test_whatever_happens_in_whatever_order_the_store_agrees_with_the_table(valkey_url: str, lives: int) -> None:
    global URL
    URL = valkey_url
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=lives, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
