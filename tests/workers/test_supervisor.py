"""What a worker does to its trainer and its job: drained, out of memory, and what it tells it of itself."""

import os
from pathlib import Path

import psutil
import pytest

from services.contract.ids import new_id
from services.contract.transitions import Status
from services.settings import Settings
from services.store.store import Store
from services.store.workers import Drain
from tests.conftest import profile, spec
from tests.reports import worker
from tests.trainers import trainers_from
from tests.waiting import wait_until
from workers.duty import Duty
from workers.supervisor import supervise
from workers.zygote import Starter, discard

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
    with trainers_from(nursery) as start:
        await supervise(quiet_store, claim, quiet, duty, start)
    record = await quiet_store.jobs.get(id)
    assert record is not None
    assert record.status is Status.QUEUED
    assert [attempt.reason for attempt in record.attempts] == ["released"]
    assert not duty.takes_jobs


async def test_a_trainer_that_takes_more_memory_than_it_may_is_ended_before_the_machine_is(
    quiet_store: Store, quiet: Settings, file: str, nursery: Path
) -> None:
    me, duty = profile(), Duty(lambda: None)
    assert duty.begin()
    id = new_id("ftjob")
    await quiet_store.jobs.create(id, "local", spec(training_file=file))
    claim = await quiet_store.leases.claim_next(me)
    assert claim is not None
    config = quiet.model_copy(update={"trainer_memory": 1_000_000})
    with trainers_from(nursery) as start:
        await supervise(quiet_store, claim, config, duty, start)
    record = await quiet_store.jobs.get(id)
    assert record is not None
    assert [attempt.reason for attempt in record.attempts] == ["out_of_memory"]
    assert "HEADWAY_TRAINER_MEMORY is 1000000" in record.reason.message


def test_a_trainer_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It decodes what strangers sent."""
    secrets = {"HEADWAY_REDIS_URL": "redis://:pw@h", "HEADWAY_API_KEY": "hw-x", "AWS_SECRET_ACCESS_KEY": "x"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    trainer = Starter()("workers.trainer", "--tethered", "--lean")
    try:
        environment = wait_until(psutil.Process(trainer.pid).environ)  # none in the midst of its exec
        assert not environment.keys() & secrets.keys()
        assert environment["PATH"] == os.environ["PATH"]
    finally:
        discard(trainer)
