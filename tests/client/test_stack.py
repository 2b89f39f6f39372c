"""`headway up`: what stands in its way is said in a sentence; what it started ends with it."""

import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.client import stack
from services.settings import Settings
from tests.conftest import free_port
from tests.drawing import shapes, zipped
from tests.jobs import Upload, ended, submitted
from tests.processes import alive, arguments, started_by
from tests.waiting import wait_until

pytestmark = pytest.mark.slow  # each starts everything

HEADWAY = [sys.executable, "-m", "services.client.main"]


def headway(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [*HEADWAY, *arguments]
    env = os.environ | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def up(data: Path, port: int, *more: str, workers: int = 0) -> Iterator["subprocess.Popen[str]"]:
    command = [*HEADWAY, "up", "--port", str(port), "--data-dir", str(data), "--workers", str(workers), *more]
    environment = os.environ | {"HEADWAY_SPARE_MEMORY": "0"}  # no test of a spare
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def serving(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def test_with_autoscale_a_worker_comes_with_the_first_job_and_all_ends_with_ctrl_c(
    tmp_path: Path, upload: Upload
) -> None:
    port = free_port()
    with (
        up(tmp_path, port, "--autoscale", "cpu=0-1") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        wait_until(lambda: serving(port))
        assert client.get("/v1/workers").json()["data"] == []
        job = submitted(client, upload, shapes(3), weights="random:0", n_epochs=1)
        assert ended(client, job)["status"] == "succeeded"
        (worker,) = client.get("/v1/workers").json()["data"]
        assert worker["kind"] == worker["device"].split(":")[0]
        assert worker["preflight"][-1]["ok"]
        assert len(worker["preflight"][-1]["checks"]) == 4
        assert [d["reason"] for d in client.get("/v1/autoscaler").json()["decisions"]] == [
            "1 job waiting, 0 workers: start 1"
        ]
        children = started_by(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    assert not any(alive(pid) for pid in children)


def test_a_busy_port_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = headway("up", "--port", str(port), "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = headway("up", "--port", str(free_port()), "--data-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "--data-dir" in done.stderr


def test_another_host_without_keys_is_refused(tmp_path: Path) -> None:
    done = headway("up", "--data-dir", str(tmp_path), HEADWAY_HOST="0.0.0.0")
    assert done.returncode == 1
    assert "HEADWAY_OPEN=1" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("HEADWAY_PORT", "eighty", "HEADWAY_PORT"),
        ("HEADWAY_FILES", "ftp://b", "file:///"),
        ("HEADWAY_DEVICE", "tpu", "DEVICE"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str, word: str) -> None:
    done = headway("up", "--data-dir", str(tmp_path), **{name: value})
    assert done.returncode == 1
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, port):
        wait_until(lambda: serving(port))
        done = headway("up", "--port", str(free_port()), "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "Another `headway up` uses" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_no_process_and_loses_nothing(tmp_path: Path, end: signal.Signals) -> None:
    data, port = tmp_path / "a folder with spaces", free_port()
    with up(data, port) as process:
        wait_until(lambda: serving(port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            form = {"purpose": "fine-tune"}
            file = client.post("/v1/files", data=form, files={"file": ("a.zip", zipped(shapes(2)))}).json()["id"]
            job = client.post("/v1/fine_tuning/jobs", json={"training_file": file}).json()["id"]
        others = started_by(process.pid)
        assert len(others) >= 4  # the store and its Valkey, the API, the reaper
        process.send_signal(end)
        process.wait(30)
        wait_until(lambda: not [pid for pid in others if alive(pid)])
        if end is not signal.SIGKILL:
            assert process.returncode == 0
    with up(data, port):
        wait_until(lambda: serving(port))
        jobs = httpx.get(f"http://127.0.0.1:{port}/v1/fine_tuning/jobs").json()["data"]
        assert [found["id"] for found in jobs] == [job]


def said_until_ctrl_c(process: "subprocess.Popen[str]", *, seconds: float = 30) -> str:
    """All that it said, once Ctrl-C has ended it well."""
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0
    return output


def is_appended(data: Path, id: str) -> bool:
    """To the store's file of its writes."""
    return any(id.encode() in path.read_bytes() for path in (data / "valkey").rglob("*.aof"))


@pytest.mark.parametrize("victim", ["services.api", "services.reaper", "services.process.embedded", "valkey-server"])
def test_what_is_killed_is_started_again_and_nothing_is_lost(tmp_path: Path, victim: str) -> None:
    port = free_port()
    with up(tmp_path, port) as process:
        wait_until(lambda: serving(port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            file = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.zip", zipped(shapes(2)))})
        id = str(file.json()["id"])
        wait_until(lambda: is_appended(tmp_path, id))  # what Valkey holds back while its disk is busy is lost with it
        killed = next(pid for pid in started_by(process.pid) if victim in arguments(pid))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: any(victim in arguments(pid) for pid in started_by(process.pid) if pid != killed))
        wait_until(lambda: serving(port))
        files = httpx.get(f"http://127.0.0.1:{port}/v1/files").json()["data"]
        assert [found["id"] for found in files] == [id]
        output = said_until_ctrl_c(process)
    assert "was killed (Killed) and is started again" in output


def test_an_api_that_is_killed_again_and_again_comes_back_and_the_rest_goes_on(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, port) as process:
        wait_until(lambda: serving(port))
        others = {pid for pid in started_by(process.pid) if "services.api" not in arguments(pid)}
        for _ in range(5):
            (api,) = wait_until(
                lambda: [pid for pid in started_by(process.pid) if "services.api" in arguments(pid)], seconds=30
            )
            os.kill(api, signal.SIGKILL)
            wait_until(lambda: not alive(api))  # noqa: B023
        wait_until(lambda: serving(port), seconds=60)
        assert all(map(alive, others))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.count("The api was killed (Killed) and is started again") == 5
    assert "is started again in 2 s" in output


def test_a_process_that_refuses_to_start_ends_everything_and_its_log_is_shown(tmp_path: Path) -> None:
    (tmp_path / "keys.jsonl").write_text("no JSON")
    environment = os.environ | {"HEADWAY_API_KEYS_FILE": str(tmp_path / "keys.jsonl"), "HEADWAY_WEIGHTS": "random:0"}
    arguments = ("--workers", "0", "--port", str(free_port()), "--data-dir", str(tmp_path / "data"))
    command = [sys.executable, "-m", "services.client.main", "up", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "The api ended with 1" in done.stderr
    assert "keys.jsonl, line 1" in done.stderr


def test_before_a_screen_the_page_is_opened_and_ctrl_c_stops_it_in_order(tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches the whole foreground group, which must not be the store's."""
    port, opened = free_port(), tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 >{opened}\n")
    browser.chmod(0o755)
    seen = {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}
    pid, terminal = pty.fork()
    if pid == 0:
        command = [*HEADWAY, "up", "--port", str(port), "--data-dir", str(tmp_path), "--workers", "0"]
        os.execve(sys.executable, command, seen | {"DISPLAY": ":0", "BROWSER": str(browser)})
    try:
        wait_until(lambda: serving(port))
        wait_until(lambda: opened.exists() and opened.read_text() == f"http://127.0.0.1:{port}\n")
        others = started_by(pid)
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        wait_until(lambda: not [other for other in others if alive(other)])
    finally:
        os.close(terminal)
    log = (tmp_path / "logs" / "store.log").read_text()
    assert "Valkey is now ready to exit, bye bye" in log


@pytest.mark.nightly
def test_a_worker_that_is_killed_during_the_sample_is_started_again(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, port, "--exit-after-sample", workers=1) as process:
        wait_until(lambda: serving(port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            jobs = wait_until(lambda: client.get("/v1/fine_tuning/jobs").json()["data"], seconds=120)
            assert jobs
            killed = client.get("/v1/workers").json()["data"][0]["pid"]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: {w["pid"] for w in client.get("/v1/workers").json()["data"]} - {killed}, seconds=120)
        assert process.poll() is None
        output = said_until_ctrl_c(process, seconds=60)
    assert "The worker-1 was killed (Killed) and is started again" in output


def test_a_worker_that_is_killed_is_started_again_and_one_that_is_drained_ends_and_the_rest_goes_on(
    tmp_path: Path, nursery: Path
) -> None:
    config = Settings(data_dir=tmp_path, port=free_port(), weights="random:0", spare_memory=0)
    told: list[str] = []
    with (
        stack.running(config, workers=1, say=told.append, worker="tests.gated.worker", predictor=False) as running,
        httpx.Client(base_url=running.url) as client,
        stack.watched(running),
    ):
        (killed,) = wait_until(lambda: client.get("/v1/workers").json()["data"], seconds=60)
        os.kill(killed["pid"], signal.SIGKILL)
        others = wait_until(
            lambda: [w for w in client.get("/v1/workers").json()["data"] if w["id"] != killed["id"]], seconds=60
        )
        client.post(f"/v1/workers/{others[0]['id']}/drain")
        wait_until(lambda: len(told) == 2, seconds=20)
        assert serving(config.port)
    assert told == [
        "The worker-1 was killed (Killed) and is started again.",
        "The worker-1 was drained and has ended.",
    ]


def test_the_sample_needs_a_worker(tmp_path: Path) -> None:
    done = headway("up", "--sample", "--workers", "0", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "--workers 0" in done.stderr
