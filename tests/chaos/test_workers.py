"""Workers and trainers that end in mid-job: drained, killed, stopped for too long. The job goes on, on its curve."""

import os
import signal
from typing import Any

import pytest

from tests.chaos.conftest import Holds, Submit
from tests.chaos.house import House, Part
from tests.chaos.verdict import LOST, reasons
from tests.jobs import JOBS
from tests.processes import alive
from tests.waiting import wait_until

pytestmark = pytest.mark.slow  # workers or APIs are started


@pytest.mark.parametrize("how", ["SIGTERM", "by the API"])
def test_a_drained_worker_hands_its_job_on_after_a_checkpoint_and_ends_with_zero(
    house: House, submit: Submit, holds: Holds, how: str
) -> None:
    job = submit()
    draining = house.worker_of(job)
    for other in house.workers:
        if other is not draining:
            other.send(signal.SIGSTOP)  # so that we see what is handed on
    if how == "SIGTERM":
        draining.send(signal.SIGTERM)
    else:
        ask_to_drain(house, draining)
    assert draining.wait(15) == 0
    assert house.look(job)["status"] == "queued"
    newest = house.client.get(f"{JOBS}/{job}/checkpoints").json()["data"][0]
    assert newest["step_number"] == house.look(job)["progress"]["step"]
    house.heal()
    assert reasons(holds(job)) == ["released", "succeeded"]


def test_a_worker_that_shall_leave_after_its_job_finishes_it_takes_no_other_and_ends_with_zero(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    leaving = house.worker_of(job)
    (trainer,) = house.trainers_of(leaving)
    os.kill(trainer, signal.SIGSTOP)  # the job goes on once its worker has said that it leaves
    ask_to_drain(house, leaving, after_job=True)
    wait_until(lambda: ("draining", job) in [(w["status"], w["job"]) for w in workers(house)])
    os.kill(trainer, signal.SIGCONT)
    assert reasons(holds(job)) == ["succeeded"]
    assert leaving.wait(15) == 0


def test_an_idle_worker_that_shall_leave_after_its_job_leaves_at_once(house: House) -> None:
    leaving = house.workers[0]
    ask_to_drain(house, leaving, after_job=True)
    assert leaving.wait(15) == 0


def ask_to_drain(house: House, worker: Part, **params: bool) -> None:
    id = next(found["id"] for found in workers(house) if found["pid"] == worker.pid)
    assert house.client.post(f"/v1/workers/{id}/drain", params=params).status_code == 200


def workers(house: House) -> list[dict[str, Any]]:
    return list(house.client.get("/v1/workers").json()["data"])


def test_a_killed_worker_leaves_no_trainer_and_another_goes_on(house: House, submit: Submit, holds: Holds) -> None:
    job = submit()
    worker = house.worker_of(job)
    (trainer,) = house.trainers_of(worker)
    worker.kill()
    wait_until(lambda: not alive(trainer), seconds=10)
    assert reasons(holds(job)) == ["worker_lost", "succeeded"]


def test_a_killed_trainer_is_started_again_from_its_checkpoint(house: House, submit: Submit, holds: Holds) -> None:
    job = submit()
    (trainer,) = house.trainers()
    os.kill(trainer, signal.SIGKILL)
    lost, succeeded = reasons(holds(job))
    assert lost in LOST
    assert succeeded == "succeeded"


def test_a_trainer_that_lives_and_says_nothing_is_ended_and_the_job_goes_on(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    (trainer,) = house.trainers()
    os.kill(trainer, signal.SIGSTOP)
    wait_until(lambda: house.look(job)["attempt"] == 2, seconds=2 * house.timing.trainer_silence)
    told = holds(job)
    assert reasons(told) == ["worker_lost", "succeeded"]
    assert any("said nothing for" in event["message"] for event in told.events)


def test_a_worker_that_was_stopped_beyond_its_lease_writes_no_more(house: House, submit: Submit, holds: Holds) -> None:
    job = submit()
    frozen = house.worker_of(job)
    (trainer,) = house.trainers_of(frozen)
    for pid in (frozen.pid, trainer):
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: house.look(job)["attempt"] == 2, seconds=45)
    for pid in (frozen.pid, trainer):
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not alive(trainer), seconds=10)
    assert reasons(holds(job)) == ["worker_lost", "succeeded"]
