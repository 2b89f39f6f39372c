"""The stack's other shapes: with keys for others than this machine, and with a native worker beside it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.containers.project import ROOT, Project
from tests.drawing import shapes
from tests.jobs import JOBS, Upload, ended, submitted
from tests.waiting import wait_until

PUBLIC, MAC = "infra/compose/public.yml", "infra/compose/mac.yml"


def test_published_for_others_every_request_needs_a_key() -> None:
    with Project.up("headway-public", PUBLIC, start=False) as project:
        key = project.compose("run", "--rm", "--no-deps", "api", "headway", "keys", "new", "--tenant", "ann").strip()
        project.compose("up", "--detach", "--wait", "api")
        assert {binding["HostIp"] for binding in project.one("api").ports["8000/tcp"]} == {"0.0.0.0"}
        assert project.client.get(JOBS).status_code == 401
        assert project.client.get(JOBS, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert project.client.get("/metrics").status_code == 200


@pytest.mark.nightly
def test_published_for_others_without_a_keys_file_the_api_does_not_serve() -> None:
    with Project.up("headway-public", PUBLIC, start=False) as project:
        project.compose("up", "--detach", "api")
        wait_until(lambda: b"HEADWAY_API_KEYS_FILE cannot be read" in project.containers("api")[0].logs())
        with pytest.raises(httpx.TransportError):
            project.client.get("/healthz")


@pytest.mark.nightly
def test_a_native_worker_joins_the_stack_as_on_a_mac(tmp_path: Path, upload: Upload) -> None:
    files, redis_port = tmp_path / "files", "16379"
    files.mkdir()
    files.chmod(0o777)  # the container's user is another
    settings = {
        "HEADWAY_FILES_DIR": str(files),
        "HEADWAY_REDIS_PORT": redis_port,
        "HEADWAY_REDIS_PASSWORD": 'one "with/ everything@:',  # the other projects' are generated
    }
    with Project.up("headway-mac", MAC, settings=settings) as project:
        environment = os.environ | {
            "HEADWAY_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "HEADWAY_REDIS_PASSWORD": project.settings["HEADWAY_REDIS_PASSWORD"],
            "HEADWAY_FILES": f"file://{files}",
            "HEADWAY_DATA_DIR": str(tmp_path),
        }
        worker = subprocess.Popen([sys.executable, "-m", "services.client.main", "worker"], env=environment, cwd=ROOT)
        try:
            job = submitted(project.client, upload, shapes(4), n_epochs=2)
            assert ended(project.client, job)["status"] == "succeeded"
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
