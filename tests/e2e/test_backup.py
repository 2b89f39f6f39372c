"""A backup of a running service, brought back on an empty machine: its jobs go on, on their curve."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.client import stack
from services.settings import Settings
from tests.conftest import TIME_SCALE, free_port
from tests.drawing import shapes, zipped
from tests.jobs import ASKED, CLOSE, JOBS, Upload, curve, ended, final_events, look
from tests.waiting import wait_until


@pytest.fixture
def serving(nursery: Path, features_dir: Path) -> Any:
    @contextmanager
    def serving(data: Path) -> Iterator[httpx.Client]:
        config = Settings(
            data_dir=data,
            cache_dir=features_dir,
            weights="random:0",
            port=free_port(),
            spare_memory=0,
            time_scale=max(TIME_SCALE, 0.5),  # all of it starts at once, on two cores
        )
        with (
            stack.running(config, workers=1, worker="tests.gated.worker", predictor=False) as running,
            httpx.Client(base_url=running.url, timeout=30) as client,
        ):
            yield client

    return serving


def headway(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.client.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)


@pytest.mark.slow
def test_what_was_backed_up_in_mid_job_goes_on_elsewhere(serving: Any, tmp_path: Path, upload: Upload) -> None:
    images = zipped(shapes(6))
    with serving(tmp_path / "here") as client:
        file = upload(client, images).json()["id"]
        whole = client.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
        model = ended(client, whole)["fine_tuned_model"]
        undisturbed = curve(client, whole)
        job = client.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
        wait_until(lambda: look(client, job)["progress"]["step"] > 200, seconds=60)
        done = headway("backup", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "here"))
        assert done.returncode == 0, done.stderr
        later = client.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
    shutil.rmtree(tmp_path / "here")
    done = headway("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "there"))
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "there") as client:
        assert ended(client, job)["status"] == "succeeded"
        assert curve(client, job) == pytest.approx(undisturbed, abs=CLOSE)
        assert len(final_events(client, job)) == 1
        assert curve(client, whole) == undisturbed
        assert client.get(f"/v1/files/{file}/content").content == images
        assert client.get(f"/v1/models/{model}/content").is_success
        assert client.get(f"{JOBS}/{later}").status_code == 404  # it came after the backup


@pytest.mark.slow
def test_what_is_no_backup_or_would_overwrite_is_refused(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    assert "was not finished" in headway("restore", str(empty), "--data-dir", str(tmp_path / "data")).stderr
    (full / "files" / "local").mkdir(parents=True)
    assert "has something in it" in headway("backup", str(full), "--data-dir", str(tmp_path / "data")).stderr
    (empty / "backup.json").write_text('{"headway": "9", "records": 99, "made_at": 0, "has_store": false}')
    assert "whose records are newer" in headway("restore", str(empty), "--data-dir", str(tmp_path / "data")).stderr
    (empty / "backup.json").write_text('{"headway": "0", "records": 1, "made_at": 0, "has_store": false}')
    assert "has something in it already" in headway("restore", str(empty), "--data-dir", str(full)).stderr
    assert "has no store yet" in headway("backup", str(tmp_path / "b"), "--data-dir", str(tmp_path / "data")).stderr
