"""A worker that is told to drain takes no other job, whichever way it hears of it first."""

from functools import partial
from pathlib import Path

import pytest

from services.contract.ids import new_id
from services.contract.transitions import Status
from services.settings import Settings
from services.store.store import Store
from services.store.workers import Drain
from tests.conftest import profile, spec
from tests.gated.nursery import forked
from tests.reports import worker
from workers.duty import Duty
from workers.supervisor import supervise

pytestmark = pytest.mark.anyio


async def test_a_worker_that_a_renewal_tells_to_drain_leaves_after_the_job_that_it_hands_on(
    quiet_store: Store, quiet: Settings, file: str, nursery: Path
) -> None:
    """Its heartbeat, which hears the same within a second, is too late: the job is first in line by then."""
    me, duty = profile(), Duty(lambda: None)
    assert duty.begin()
    await quiet_store.workers.report(worker(me.id, status="busy"))
    await quiet_store.workers.ask_to_drain(me.id, Drain.NOW)
    id = new_id("ftjob")
    await quiet_store.jobs.create(id, "local", spec(training_file=file))
    claim = await quiet_store.leases.claim_next(me)
    assert claim is not None
    await supervise(quiet_store, claim, quiet, duty, partial(forked, nursery))
    record = await quiet_store.jobs.get(id)
    assert record is not None
    assert record.status is Status.QUEUED
    assert [attempt.reason for attempt in record.attempts] == ["released"]
    assert not duty.takes_jobs
