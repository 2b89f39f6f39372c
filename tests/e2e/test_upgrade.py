"""The version before beside this one, with jobs in flight: either API, and a job that goes from its worker to ours."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.settings import Settings
from tests.conftest import free_port, running_valkey
from tests.drawing import shapes, zipped
from tests.jobs import ASKED, CLOSE, JOBS, Upload, curve, ended, final_events, look
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
OLDER = "056df1067f7b57ab1c831f838a63d6cbd31026c4"  # what runs where people have not upgraded for long


@pytest.fixture(params=["HEAD~1", OLDER], ids=["the commit before", "an older one"])
def before(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Its code. It needs the repository with its history."""
    folder = tmp_path / "before"
    folder.mkdir()
    archive = subprocess.run(["git", "archive", request.param], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "x"], cwd=folder, input=archive.stdout, check=True)
    return folder


@contextmanager
def running(code: Path, module: str, config: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    environment = config.as_environment() | {"PYTHONPATH": str(code), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, "--tethered"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, cwd=code, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def api(code: Path, config: Settings) -> Iterator[httpx.Client]:
    url = f"http://127.0.0.1:{config.port}"
    with running(code, "services.api", config), httpx.Client(base_url=url, timeout=30) as client:
        wait_until(lambda: _is_ready(client))
        yield client


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/readyz").is_success
    return False


@pytest.mark.nightly
def test_jobs_go_on_while_two_versions_run_together(
    before: Path, features_dir: Path, tmp_path: Path, short_folder: Path, upload: Upload
) -> None:
    with running_valkey(short_folder / "upgrade.sock", tmp_path) as redis:
        given: dict[str, Any] = {"data_dir": tmp_path / "data", "cache_dir": features_dir, "redis_url": redis}
        config = Settings(**given, weights="random:0", port=free_port(), device="cpu", spare_memory=0)
        ours = config.model_copy(update={"port": free_port()})
        with (
            api(before, config) as old,
            running(before, "services.reaper", config),
            api(ROOT, ours) as new,
            running(ROOT, "services.reaper", ours),
        ):
            with running(before, "workers.main", config) as old_worker:
                wait_until(lambda: old.get("/v1/workers").json()["data"], seconds=120)
                file = upload(old, zipped(shapes(6))).json()["id"]
                whole = new.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
                assert ended(old, whole)["status"] == "succeeded"
                handed_on = old.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
                wait_until(lambda: look(new, handed_on)["progress"]["step"] > 200, seconds=60)
                os.kill(old_worker.pid, signal.SIGTERM)
                assert old_worker.wait(30) == 0
            with running(ROOT, "workers.main", ours):
                another = old.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
                for job in (handed_on, another):
                    assert ended(new, job)["status"] == "succeeded"
                    assert len(final_events(old, job)) == 1
                    assert curve(old, job) == curve(new, job) == pytest.approx(curve(new, whole), abs=CLOSE)
                assert [attempt["reason"] for attempt in look(new, handed_on)["attempts"]] == ["released", "succeeded"]
