"""A pass that is shared: whoever helps, and whatever happens to who helps, it is the curve of the owner alone."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.chaos.house import House, Part
from tests.chaos.line import Mode
from tests.chaos.verdict import Told
from tests.drawing import shapes
from tests.jobs import JOBS, Upload, submitted
from tests.waiting import wait_until

IMAGES = shapes(20, first=9000)
ASKED: dict[str, Any] = {"n_epochs": 3, "batch_size": 8, "learning_rate": 1e-3}

pytestmark = pytest.mark.slow
Submit = Callable[[], tuple[str, Part]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House.built(tmp_path_factory.mktemp("features"), tmp_path_factory.mktemp("logs")) as house:
        yield house


@pytest.fixture(scope="module")
def alone(shared: House, upload: Upload) -> Told:
    """What the job does that nobody helps."""
    told = ended(shared, submitted(shared.client, upload, IMAGES, **ASKED, limits={"max_workers": 1}))
    assert helpers_of(told) == []
    return told


@pytest.fixture
def house(shared: House, alone: Told) -> Iterator[House]:
    """All of it well, and no image known."""
    shared.heal()
    assert shared.settings.cache_dir is not None
    shutil.rmtree(shared.settings.cache_dir, ignore_errors=True)
    yield shared
    shared.heal()
    wait_until(lambda: not left_of_passes(shared))


@pytest.fixture
def submit(house: House, upload: Upload) -> Submit:
    """A job whose owner waits before its first shard, so that who helps comes first; and who helps."""

    def submit() -> tuple[str, Part]:
        house.gate.of_passes.close()
        job = submitted(house.client, upload, IMAGES, **ASKED)
        (helper,) = wait_until(lambda: house.redis.zrange(f"headway:job:{job}:helpers", 0, 0), every=0.01)
        return job, next(part for part in house.workers if f"-{part.pid}-" in helper)

    return submit


def ended(house: House, job: str) -> Told:
    wait_until(lambda: house.look(job)["status"] in ("succeeded", "failed", "cancelled"), seconds=120)
    return Told.of(house.client, job)


def helpers_of(told: Told) -> list[int]:
    """How many helped, each time that it was told."""
    return [event["data"]["helpers"] for event in told.events if "helpers" in event["data"]]


def left_of_passes(house: House) -> list[str]:
    """In Redis and in the store of bytes."""
    keys = [key for kind in ("shards", "brought", "helpers") for key in house.redis.keys(f"headway:job:*:{kind}")]
    folders = [str(path) for path in house.settings.files_dir.glob("*/shared/*/*")]
    return [*keys, *folders, *house.redis.zrange("headway:jobs:shared", 0, -1)]


def go_on(house: House, job: str) -> Told:
    """The owner too computes."""
    house.gate.of_passes.open()
    return ended(house, job)


def same(told: Told, alone: Told) -> None:
    assert told.job["status"] == "succeeded", told.job["status_reason"]
    assert told.series["train_loss"]["step"] == alone.series["train_loss"]["step"]
    assert told.series["train_loss"]["value"] == pytest.approx(alone.series["train_loss"]["value"], abs=1e-6)


def test_an_idle_worker_helps_and_the_curve_is_the_owners_alone(house: House, submit: Submit, alone: Told) -> None:
    before = counted(house)
    job, helper = submit()
    wait_until(lambda: counted(house) > before)
    wait_until(lambda: {worker["pid"]: worker["helps"] for worker in workers(house)}[helper.pid] in (job, None))
    told = go_on(house, job)
    same(told, alone)
    assert helpers_of(told)[0] == 1
    assert float(house.redis.hget(f"headway:job:{job}", "helped_seconds")) > 0


def workers(house: House) -> list[dict[str, Any]]:
    return list(house.client.get("/v1/workers").json()["data"])


def counted(house: House) -> int:
    """Shards that helpers brought, since the store was made."""
    return int(house.redis.hget("headway:totals", "shards_helped") or 0)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_a_helper_that_dies_or_freezes_costs_its_shards_time(
    house: House, submit: Submit, alone: Told, signum: signal.Signals
) -> None:
    job, helper = submit()
    pids = wait_until(lambda: house.trainers_of(helper), every=0.01)
    for pid in pids:
        os.kill(pid, signum)
    told = go_on(house, job)
    for pid in house.trainers_of(helper):
        os.kill(pid, signal.SIGCONT)
    same(told, alone)


def test_a_helper_that_is_cut_off_from_redis_is_missed_by_nobody(house: House, submit: Submit, alone: Told) -> None:
    job, helper = submit()
    house.line_of(helper).cut(Mode.SWALLOWED)
    same(go_on(house, job), alone)


def test_a_segment_that_is_torn_is_computed_again(house: House, submit: Submit, alone: Told) -> None:
    job, _ = submit()
    torn: set[str] = set()
    while not any("came damaged from" in worker.log.read_text() for worker in house.workers):
        for path in house.settings.files_dir.glob(f"*/shared/{job}/*/*-*"):
            with suppress(OSError):  # its owner was faster
                os.truncate(path, path.stat().st_size - 7)
                torn.add(path.name)
        assert counted(house) < 1000
    assert torn
    same(go_on(house, job), alone)


def test_when_the_owner_is_killed_its_helper_takes_the_job(house: House, submit: Submit, alone: Told) -> None:
    job, helper = submit()
    owner = house.worker_of(job)
    assert owner is not helper
    owner.kill()
    told = go_on(house, job)
    same(told, alone)
    assert [attempt["reason"] for attempt in told.job["attempts"]] == ["worker_lost", "succeeded"]


def test_of_a_job_that_is_cancelled_and_deleted_nothing_is_left(house: House, submit: Submit) -> None:
    job, _ = submit()
    house.client.post(f"{JOBS}/{job}/cancel")
    ended(house, job)
    assert house.client.delete(f"{JOBS}/{job}").status_code == httpx.codes.OK
    wait_until(lambda: not left_of_passes(house))
    assert not house.redis.keys(f"headway:job:{job}*")


def test_a_helper_takes_a_job_of_its_own_at_once(house: House, submit: Submit, upload: Upload, alone: Told) -> None:
    job, helper = submit()
    other = submitted(house.client, upload, shapes(4, first=9900), **ASKED)
    taken = wait_until(lambda: house.redis.hget(f"headway:job:{other}", "worker"), seconds=5, every=0.01)
    assert f"-{helper.pid}-" in taken
    assert house.look(job)["status"] == "running"
    same(go_on(house, job), alone)
    assert ended(house, other).job["status"] == "succeeded"


def test_one_that_wants_no_help_gets_none(house: House, upload: Upload, alone: Told) -> None:
    told = ended(house, submitted(house.client, upload, IMAGES, **ASKED, limits={"max_workers": 1}))
    same(told, alone)
    assert helpers_of(told) == []
