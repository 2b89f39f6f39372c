"""Processes in trouble: trainers that do not listen, wishes that come at the last moment, an API that dies."""

import os
import signal
import threading
import time

import pytest

from services.store import keys
from tests.chaos.conftest import ASKED, Holds, Submit
from tests.chaos.house import House
from tests.chaos.verdict import Told
from tests.drawing import shapes
from tests.jobs import JOBS, Upload, submitted
from tests.waiting import wait_until

HINTS = keys.train_queue("any")

pytestmark = pytest.mark.slow  # workers or APIs are started


@pytest.fixture
def deaf(house: House, submit: Submit) -> str:
    """A job on its way, whose trainer does not listen."""
    job = submit()
    (trainer,) = house.trainers()
    os.kill(trainer, signal.SIGSTOP)
    return job


def test_a_trainer_that_does_not_listen_is_killed_and_the_cancel_is_effective_within_two_seconds(
    house: House, deaf: str, holds: Holds
) -> None:
    house.client.post(f"{JOBS}/{deaf}/cancel")
    wait_until(lambda: house.look(deaf)["status"] == "cancelled", seconds=3)  # 2, and this machine's own
    holds(deaf)


def test_a_pause_that_had_to_kill_says_so_and_the_job_goes_on_from_its_last_checkpoint(
    house: House, deaf: str, holds: Holds
) -> None:
    house.client.post(f"{JOBS}/{deaf}/pause")
    wait_until(lambda: house.look(deaf)["status"] == "paused", seconds=10)
    house.client.post(f"{JOBS}/{deaf}/resume")
    told = holds(deaf)
    assert told.job["status"] == "succeeded"
    assert any(f"did not stop within {house.timing.stop_grace:g} s" in event["message"] for event in told.events)


def test_wishes_raced_against_the_finish_leave_each_job_with_one_end(
    house: House, upload: Upload, undisturbed: Told
) -> None:
    """One job after the other, a wish at a later moment of its end each time."""
    short = ASKED | {"n_epochs": 40}
    file = house.look(submitted(house.client, upload, shapes(6), **short))["training_file"]
    for number in range(4):
        job = house.client.post(JOBS, json=short | {"training_file": file}).json()["id"]
        wait_until(lambda: house.look(job)["progress"]["step"] > 0, seconds=120, every=0.005)  # noqa: B023
        time.sleep(0.02 * number)
        for action in ("pause", "resume", "cancel")[number % 2 * 2 :]:
            house.client.post(f"{JOBS}/{job}/{action}")
        wait_until(lambda: house.look(job)["status"] in ("succeeded", "paused", "cancelled"), seconds=60)  # noqa: B023
        if house.look(job)["status"] == "paused":
            house.client.post(f"{JOBS}/{job}/resume")
            wait_until(lambda: house.look(job)["status"] in ("succeeded", "cancelled"), seconds=60)  # noqa: B023
        told = Told.of(house.client, job)
        whole = told.job["status"] == "succeeded"
        assert (told.head is not None) == whole
        steps = told.series["train_loss"]["step"]
        assert steps == list(range(1, len(steps) + 1))
        assert told.series["train_loss"]["value"] == pytest.approx(
            undisturbed.series["train_loss"]["value"][: len(steps)], abs=1e-6
        )
        ends = [event for event in told.events if (event["data"] or {}).get("status") in ("succeeded", "cancelled")]
        assert len(ends) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_stream_goes_on_over_an_api_that_is_replaced_and_hears_each_event_once(
    house: House, submit: Submit, holds: Holds, how: signal.Signals
) -> None:
    job = submit()
    heard: list[str] = []
    listener = threading.Thread(target=_follow, args=(house, job, heard))
    listener.start()
    wait_until(lambda: len(heard) > 3)
    house.api.send(how)
    house.api.wait()
    house.api.start()
    told = holds(job)
    listener.join(30)
    assert heard == [event["id"] for event in told.events]


def _follow(house: House, job: str, heard: list[str]) -> None:
    heard.extend(event.id for event in house.followed(job, threading.Event()))


def test_hints_that_are_lost_or_far_too_many_do_no_harm(house: House, submit: Submit, holds: Holds) -> None:
    house.reaper.kill()
    jobs = [submit(), submit(steps=0), submit(steps=0)]
    nobodys = submit(steps=0, device="mps")
    (hint,) = house.redis.lrange(keys.train_queue("mps"), 0, -1)  # which no worker here reads
    house.client.post(f"{JOBS}/{nobodys}/cancel").raise_for_status()
    house.redis.delete(HINTS, keys.train_queue("mps"))  # whatever was published is lost
    house.heal()  # the reaper, which is all there is to help
    wait_until(lambda: house.redis.llen(HINTS) or house.look(jobs[-1])["status"] != "queued", seconds=60)
    house.redis.lpush(HINTS, *[hint] * 20)  # and now there are far too many
    for job in jobs:
        assert holds(job).job["status"] == "succeeded"
    wait_until(lambda: not house.redis.llen(HINTS))
