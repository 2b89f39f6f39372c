"""Workers and trainers that end in mid-job: drained, killed, orphaned. The job goes on, on its curve."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.client import stack
from services.client.stack import Stack
from services.settings import Settings
from tests.conftest import free_port
from tests.drawing import shapes
from tests.e2e.test_main_job import JOBS, ended, running_long, submitted, train_loss
from tests.processes import alive, arguments, started_by
from tests.waiting import wait_until

Upload = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def bare(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Store, API and reaper, without workers."""
    data = tmp_path_factory.mktemp("bare")
    config = Settings(data_dir=data, cache_dir=features_dir, weights="random:0", port=free_port())
    with stack.running(config, workers=0) as running:
        yield running


@pytest.fixture
def client(bare: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=bare.url, timeout=30) as client:
        yield client


@contextmanager
def worker(bare: Stack) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker process, ready to work."""
    command = [sys.executable, "-m", "workers.main", "--tethered"]
    environment = bare.settings.as_environment()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    try:
        with httpx.Client(base_url=bare.url) as client:
            wait_until(lambda: process.pid in _pids(client), seconds=60)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _pids(client: httpx.Client) -> list[int]:
    return [found["pid"] for found in client.get("/v1/workers").json()["data"]]


def trainers_of(pid: int) -> list[int]:
    return [child for child in started_by(pid) if "workers.trainer" in arguments(child)]


def status(client: httpx.Client, job: str) -> dict[str, Any]:
    return dict(client.get(f"{JOBS}/{job}").json())


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "drain"])
def test_a_drained_worker_hands_its_job_on_after_a_checkpoint_and_ends_with_zero(
    bare: Stack, client: httpx.Client, upload: Upload, how: str
) -> None:
    with worker(bare) as draining:
        job = running_long(client, upload)
        if how == "drain":
            id = next(w["id"] for w in client.get("/v1/workers").json()["data"] if w["pid"] == draining.pid)
            assert client.post(f"/v1/workers/{id}/drain").status_code == 200
        else:
            draining.send_signal(getattr(signal, how))
        assert draining.wait(15) == 0
    handed_on = status(client, job)
    assert handed_on["status"] == "queued"
    assert handed_on["attempts"][0]["reason"] == "released"
    newest = client.get(f"{JOBS}/{job}/checkpoints").json()["data"][0]
    assert newest["step_number"] == train_loss(client, job)["step"][-1]
    client.post(f"{JOBS}/{job}/cancel")


def test_a_killed_worker_leaves_no_trainer_and_its_job_ends_once_on_its_curve(
    bare: Stack, client: httpx.Client, upload: Upload
) -> None:
    asked = {"n_epochs": 3000, "batch_size": 4, "learning_rate": 1e-3}
    with worker(bare) as first:
        job = submitted(client, upload, shapes(6), **asked)
        wait_until(lambda: status(client, job)["progress"]["step"] > 200, seconds=60)
        (trainer,) = trainers_of(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: not alive(trainer), seconds=10)
    with worker(bare):
        done = ended(client, job)  # the reaper waits for the lease to end, then says that there is work
        assert done["status"] == "succeeded"
        assert [attempt["reason"] for attempt in done["attempts"]] == ["worker_lost", "succeeded"]
        undisturbed = submitted(client, upload, shapes(6), **asked)
        assert ended(client, undisturbed)["status"] == "succeeded"
    told, wanted = train_loss(client, job), train_loss(client, undisturbed)
    assert told["step"] == wanted["step"] == list(range(1, 9001))
    assert told["value"] == pytest.approx(wanted["value"], abs=1e-6)
    validations, wanted_validations = (_series(client, id)["val_loss"] for id in (job, undisturbed))
    assert validations["step"] == wanted_validations["step"]  # nor is a validation told twice
    assert validations["value"] == pytest.approx(wanted_validations["value"], abs=1e-6)


def _series(client: httpx.Client, job: str) -> dict[str, Any]:
    return dict(client.get(f"{JOBS}/{job}/metrics").json()["series"])


def test_a_killed_trainer_is_started_again_from_its_checkpoint(
    bare: Stack, client: httpx.Client, upload: Upload
) -> None:
    with worker(bare) as busy:
        job = running_long(client, upload)
        for attempt in (1, 2):
            wait_until(lambda: status(client, job)["status"] == "running", seconds=30)
            wait_until(lambda: status(client, job)["attempt"] == attempt and trainers_of(busy.pid), seconds=30)  # noqa: B023
            (trainer,) = trainers_of(busy.pid)
            os.kill(trainer, signal.SIGKILL)
            wait_until(lambda: len(status(client, job)["attempts"]) > attempt, seconds=30)  # noqa: B023
        assert status(client, job)["attempts"][0]["reason"] in ("worker_lost", "out_of_memory")
        client.post(f"{JOBS}/{job}/cancel")
        assert ended(client, job)["status"] == "cancelled"


def test_a_worker_that_was_paused_beyond_its_lease_writes_no_more(
    bare: Stack, client: httpx.Client, upload: Upload
) -> None:
    with worker(bare) as frozen:
        job = running_long(client, upload)
        (trainer,) = trainers_of(frozen.pid)
        for pid in (frozen.pid, trainer):
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: status(client, job)["status"] == "queued", seconds=45)
        before = status(client, job)
        for pid in (frozen.pid, trainer):
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not alive(trainer), seconds=10)
        wait_until(lambda: status(client, job)["attempt"] == 2, seconds=30)  # it takes the job again, properly
        client.post(f"{JOBS}/{job}/cancel")
        assert ended(client, job)["status"] == "cancelled"
    assert before["attempts"][0]["reason"] == "worker_lost"
    steps = train_loss(client, job)["step"]
    assert steps == list(range(1, len(steps) + 1))
