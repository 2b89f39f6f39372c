"""A backup of a running service, brought back on an empty machine: its jobs go on, on their curve."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from services.client import stack
from services.client.backup import _copy_files
from services.client.main import app
from services.settings import Settings, settings
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


def headway(*arguments: str, **environment: str) -> Result:
    """In this process: importing costs a second."""
    umask = os.umask(0o022)
    settings.cache_clear()
    try:
        return CliRunner().invoke(app, list(arguments), env=environment)
    finally:
        os.umask(umask)
        settings.cache_clear()


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
        assert done.exit_code == 0, done.stderr
        later = client.post(JOBS, json={"training_file": file} | ASKED).json()["id"]
    shutil.rmtree(tmp_path / "here")
    done = headway("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "there"))
    assert done.exit_code == 0, done.stderr
    with serving(tmp_path / "there") as client:
        assert ended(client, job)["status"] == "succeeded"
        assert curve(client, job) == pytest.approx(undisturbed, abs=CLOSE)
        assert len(final_events(client, job)) == 1
        assert curve(client, whole) == undisturbed
        assert client.get(f"/v1/files/{file}/content").content == images
        assert client.get(f"/v1/models/{model}/content").is_success
        assert client.get(f"{JOBS}/{later}").status_code == 404  # it came after the backup


STORED = {
    "valkey/appendonlydir/appendonly.aof.manifest": "file appendonly.aof.1.base.rdb seq 1 type b\n",
    "valkey/appendonlydir/appendonly.aof.1.base.rdb": "jobs",
    "valkey/appendonlydir/temp-appendonly.aof.manifest": "left by a crash",
    "files/local/files/ab/abc": "photos",
    "files/local/checkpoints/ftjob-x/1-7": "a head",
    "files/incoming/files/cd/cde": "of a tenant that has an odd name",
    "files/local/incoming/upload-x.part-y": "a part",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def read(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A data folder, as a stopped service left it."""
    return write(tmp_path / "here", STORED)


def backed_up(here: Path) -> Path:
    done = headway("backup", str(here.parent / "backup"), "--data-dir", str(here))
    assert done.exit_code == 0, done.stderr
    return here.parent / "backup"


def refused(*arguments: object, **environment: str) -> str:
    done = headway(*map(str, arguments), **environment)
    assert done.exit_code == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_backup_holds_all_and_is_nobody_elses_to_read(here: Path, tmp_path: Path) -> None:
    backup = backed_up(here)
    kept = {path for path in STORED if "temp-" not in path}
    assert set(read(backup)) == kept | {"SHA256SUMS", "backup.json"}
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=backup, check=False)
    assert checked.returncode == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in backup.rglob("*"))
    done = headway("restore", str(backup), "--data-dir", str(tmp_path / "there"))
    assert done.exit_code == 0, done.stderr
    there = read(tmp_path / "there")
    assert {path: text for path, text in there.items() if path != "lock"} == {path: STORED[path] for path in kept}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda backup: (backup / "files/local/files/ab/abc").write_text("photoz"), "SHA-256 differs"),
        (lambda backup: (backup / "valkey/appendonlydir/appendonly.aof.1.base.rdb").write_text("jo"), "differs"),
        (lambda backup: (backup / "files/local/files/ab/abc").unlink(), "lacks files/local/files/ab/abc"),
        (lambda backup: shutil.rmtree(backup / "valkey"), "and 1 more"),
        (lambda backup: (backup / "SHA256SUMS").unlink(), "is not the list"),
        (lambda backup: (backup / "backup.json").unlink(), "was not finished"),
        (lambda backup: (backup / "backup.json").write_text("{}"), "cannot be read"),
        (lambda backup: linked(backup / "files/local/files/ab/abc"), "is a link"),
        (lambda backup: relisted(backup, "../../etc/passwd"), "no file of a backup"),
        (lambda backup: relisted(backup, "files/x", records=99), "whose records are newer"),
        (lambda backup: relisted(backup, "files/x", records=-5), "cannot be read"),
    ],
)
def test_what_is_not_whole_is_refused_and_leaves_nothing_behind(
    here: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(backup := backed_up(here))
    assert said in refused("restore", backup, "--data-dir", tmp_path / "there")
    assert set(read(tmp_path / "there")) <= {"lock"}


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def relisted(backup: Path, path: str, **more: int) -> None:
    """As somebody would write it who means harm, or another version."""
    (backup / "SHA256SUMS").write_text(f"{'0' * 64}  {path}\n")
    digest = hashlib.sha256((backup / "SHA256SUMS").read_bytes()).hexdigest()
    note = json.loads((backup / "backup.json").read_text()) | {"sums": digest} | more
    (backup / "backup.json").write_text(json.dumps(note))


def test_a_backup_goes_back_to_where_it_was(here: Path, tmp_path: Path) -> None:
    backup, there = backed_up(here), tmp_path / "there"
    assert "HEADWAY_FILES is s3://bucket" in refused(
        "restore", backup, "--data-dir", there, HEADWAY_FILES="s3://bucket"
    )
    assert "names another" in refused("restore", backup, "--data-dir", there, HEADWAY_REDIS_URL="redis://x")
    assert "is there already" in refused("restore", backup, "--data-dir", here)
    half = write(tmp_path / "half", {"files/x": "of another service"})
    assert "has something in it already" in refused("restore", backup, "--data-dir", half)
    odd = write(tmp_path / "odd", {"valkey/appendonlydir": "a file"})
    assert "is there already" in refused("restore", backup, "--data-dir", odd)
    assert set(read(odd)) == {"lock", "valkey/appendonlydir"}
    of_files = tmp_path / "of_files"
    done = headway("backup", str(of_files), "--data-dir", str(here), HEADWAY_REDIS_URL="redis://x")
    assert "It has no store" in done.stdout
    assert "set HEADWAY_REDIS_URL" in refused("restore", of_files, "--data-dir", there)
    of_store = tmp_path / "of_store"
    done = headway("backup", str(of_store), "--data-dir", str(here), HEADWAY_FILES="s3://bucket")
    assert "It has no files" in done.stdout
    assert "set HEADWAY_FILES" in refused("restore", of_store, "--data-dir", there)
    assert not there.exists()


def test_a_backup_of_what_is_not_there_or_into_what_is_copied_is_refused(here: Path, tmp_path: Path) -> None:
    new, typo = tmp_path / "new", tmp_path / "typo"
    assert "has no store yet" in refused("backup", new, "--data-dir", typo)
    assert "is no folder of files" in refused("backup", new, "--data-dir", typo, HEADWAY_REDIS_URL="redis://x")
    assert "is no folder of files" in refused("backup", new, "--data-dir", here, HEADWAY_FILES=f"file://{typo}")
    assert "is to be copied" in refused("backup", here / "files" / "new", "--data-dir", here)
    assert "is a file" in refused("backup", here / "files/local/files/ab/abc", "--data-dir", here)
    assert "has something in it" in refused("backup", here, "--data-dir", here)
    assert not new.exists()
    (here / "files/local/elsewhere").symlink_to(tmp_path)
    assert "elsewhere is a link" in refused("backup", new, "--data-dir", here)


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing_behind(here: Path, tmp_path: Path) -> None:
    """As on a full disk: no file may have more than 50 kB."""
    write(here, {"files/local/files/ab/large": "x" * 100_000})
    target = tmp_path / "backup"
    full = f"ulimit -f 50; exec {sys.executable} -m services.client.main"
    command = ["bash", "-c", f"trap '' XFSZ; {full} backup {target} --data-dir {here}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "no backup was made" in done.stderr) == (1, True), done.stderr
    assert list(target.iterdir()) == []
    backup, there = backed_up(here), tmp_path / "there"
    command = ["bash", "-c", f"trap '' XFSZ; {full} restore {backup} --data-dir {there}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "nothing was restored" in done.stderr) == (1, True), done.stderr
    assert set(read(there)) == {"lock"}
    assert headway("restore", str(backup), "--data-dir", str(there)).exit_code == 0


def test_what_is_deleted_meanwhile_is_left_out(here: Path, tmp_path: Path) -> None:
    """Of folders, too, while they are walked through."""
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            for n in range(30):
                write(here / "files/local/models", {f"{n}/1/model.pt": "x" * 1000})
            shutil.rmtree(here / "files/local/models")

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for n in range(20):
            sums = _copy_files(here / "files", tmp_path / str(n))
            assert "files/local/files/ab/abc" in sums
    finally:
        over.set()
        churning.join()
