"""`headway up` in environments that others made: hang-ups, long folders, power cuts, early ends."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import redis

from services.client.stack import short_folder
from services.client.terminal import shown
from services.contract.timing import Timing
from services.environment import of_module
from services.process import embedded, managed
from services.process.managed import REPLACE_ME, Managed
from tests.conftest import free_port, running_valkey
from tests.processes import alive, arguments, started_by
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_an_up_that_nohup_started_outlives_a_hang_up_keeps_its_folders_private_and_ends_early_without_a_rest(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "services.client.main", "up", "--port", str(free_port())]
    environment = os.environ | {"HEADWAY_DATA_DIR": str(tmp_path / "data"), "HEADWAY_WEIGHTS": "random:0"}
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(["nohup", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        checking = re.compile(r"vision\.preflight|trainer\.zygote")  # anew, or by a zygote and its fork
        preflight = wait_until(
            lambda: [pid for pid in started_by(up.pid) if checking.search(arguments(pid))], seconds=60
        )
        up.send_signal(signal.SIGHUP)
        time.sleep(0.5)  # that it does nothing cannot be waited for
        assert up.poll() is None
        folders = {name: (tmp_path / "data" / name).stat().st_mode & 0o777 for name in (".", "valkey", "logs")}
        assert set(folders.values()) == {0o700}
        children = started_by(up.pid)
        up.terminate()
        assert up.wait(30) == 0
        wait_until(lambda: not [pid for pid in (*children, *preflight) if alive(pid)], seconds=10)
    finally:
        up.kill()


def test_the_sockets_folder_is_short_wherever_tmpdir_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("scratch-of-a-cluster-job-" * 5)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with short_folder() as folder:
        assert len(folder) < 80
        assert Path(folder).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("zeros", [1, 600, 200_000])
def test_a_store_whose_file_ends_with_a_power_cuts_zeros_starts_without_them(
    short_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], zeros: int
) -> None:
    with running_valkey(short_folder / "cut.sock", tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("kept", "all")
        client.config_set("appendfsync", "always")
        client.set("last", "too")
    (written,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    with written.open("ab") as file:
        file.write(bytes(zeros))
    embedded.cut_zero_tail(tmp_path)
    assert f"{zeros} zero bytes" in capsys.readouterr().out
    with running_valkey(short_folder / "cut.sock", tmp_path) as url, redis.Redis.from_url(url) as client:
        assert (client.get("kept"), client.get("last")) == (b"all", b"too")


def started(tmp_path: Path, code: str, **timing: float) -> Managed:
    process = Managed(
        "x", [sys.executable, "-c", code], os.environ, tmp_path / "x.log", Timing(**timing), stop_within=1.0
    )
    process.start()
    return process


def test_a_log_that_grew_large_begins_anew_under_the_process_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed, "LOG_SIZE", 1000)
    talker = started(tmp_path, "import sys, time\nwhile True: print('x' * 99, flush=True); time.sleep(0.05)")
    try:
        wait_until(lambda: talker.log.stat().st_size > 1000)
        talker.rotate_log()
        assert talker.log.with_suffix(".log.1").stat().st_size > 1000
        wait_until(lambda: 0 < talker.log.stat().st_size < 1000)
    finally:
        talker.stop()


def test_what_does_not_last_is_started_again_later_each_time_and_what_refuses_is_not(tmp_path: Path) -> None:
    dies = started(tmp_path, "raise SystemExit(3)")
    dies.process.wait()
    assert dies.has_refused
    pauses = [dies.plan_restart() for _ in range(9)]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    dies.kill_session()

    replaced = started(tmp_path, f"raise SystemExit({REPLACE_ME})")
    replaced.process.wait()
    assert not replaced.has_refused
    replaced.kill_session()

    lasted = started(tmp_path, "raise SystemExit(3)", restarts_within=0.0)
    lasted.process.wait()
    assert not lasted.has_refused
    assert [lasted.plan_restart() for _ in range(3)] == [0.0, 0.0, 0.0]
    lasted.kill_session()


def test_a_folder_of_the_users_own_that_is_called_as_ours_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").touch()
    monkeypatch.delenv("PYTHONPATH")
    done = subprocess.run(of_module("services.client.main", "--version"), cwd=tmp_path, check=False)
    assert done.returncode == 0
    files = [path for folder in ("services", "workers") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if '"-m"' in path.read_text()] == ["environment.py"]


def test_what_would_steer_a_terminal_is_shown_as_what_it_is() -> None:
    assert shown("a\x1b[31mred\x9b31m") == r"a\x1b[31mred\x9b31m"
    assert shown("gnp.\u202egpj\u2028") == r"gnp.\u202egpj\u2028"
    assert shown("貓 café 😀 [/x]") == "貓 café 😀 [/x]"
