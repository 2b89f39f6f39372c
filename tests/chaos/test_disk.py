"""Disks in trouble: full, read-only, folders that go away. What cannot be kept is said; nothing half-written stays."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.conftest import ASKED, Holds, Submit
from tests.chaos.house import House
from tests.drawing import shapes, zipped
from tests.jobs import JOBS, Upload
from tests.waiting import wait_until


@contextmanager
def disk(folder: Path, *, kilobytes: int) -> Iterator[None]:
    """`folder` becomes a small disk of its own. That takes root; CI has it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("CI must be able to mount a small disk")
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def filled(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_an_upload_to_a_disk_that_takes_nothing_is_507_and_leaves_nothing(
    house: House, upload: Upload, trouble: str
) -> None:
    incoming = house.settings.files_dir / "local" / "incoming"
    with disk(incoming, kilobytes=512):
        if trouble == "full":
            filled(incoming)
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(incoming)], check=True)
        refused = upload(house.client, zipped(shapes(60, first=7000)))
        assert refused.status_code == 507
        assert "file store cannot be written" in refused.json()["detail"]
        assert str(house.folder) not in refused.text
        assert [path.name for path in incoming.iterdir() if path.name != "filler"] == []
    assert upload(house.client, zipped(shapes(60, first=7000))).status_code == 200


@pytest.mark.parametrize("kilobytes", [0, 16_000], ids=["from the start", "by the model at the end"])
def test_a_worker_whose_disk_is_full_fails_the_job_and_says_so_and_takes_the_next(
    house: House, submit: Submit, holds: Holds, kilobytes: int
) -> None:
    work = house.settings.data_dir / "work"
    with disk(work, kilobytes=kilobytes or 64):
        if not kilobytes:
            filled(work)
        job = submit(steps=0, n_epochs=1)
        wait_until(lambda: house.look(job)["status"] == "failed", seconds=60)
        error = house.look(job)["error"]
        assert error["code"] == "disk_full"
        assert "No space left" in error["message"]
        assert house.look(job)["status_reason"]["retryable"]
    assert holds(submit()).job["status"] == "succeeded"


def test_a_store_whose_disk_is_full_is_waited_for(house: House, upload: Upload, submit: Submit, holds: Holds) -> None:
    """Valkey refuses all writes (MISCONF) until its append-only file can be written again."""
    appendonly = house.folder / "valkey" / "appendonlydir"
    kept = house.folder / "kept"
    house.store.send(signal.SIGTERM)
    house.store.wait()
    shutil.copytree(appendonly, kept)
    with disk(appendonly, kilobytes=65_536):
        shutil.copytree(kept, appendonly, dirs_exist_ok=True)
        house.store.start()
        wait_until(house.is_ready)
        job = submit()
        filled(appendonly)
        wait_until(lambda: _refuses(house), seconds=30)
        refused = house.client.post(JOBS, json={"training_file": house.look(job)["training_file"]})
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert "append-only file" in refused.json()["detail"]
        assert upload(house.client, zipped(shapes(2, first=9000))).status_code == 503
        (appendonly / "filler").unlink()
        told = holds(job)
        house.store.send(signal.SIGTERM)
        house.store.wait()
        shutil.rmtree(kept)
        shutil.copytree(appendonly, kept)
    shutil.copytree(kept, appendonly, dirs_exist_ok=True)
    shutil.rmtree(kept)
    house.store.start()
    assert told.job["status"] == "succeeded"


def _refuses(house: House) -> bool:
    return bool(house.redis.info("persistence")["aof_last_write_status"] == "err")


def test_a_cache_that_is_deleted_under_a_running_job_costs_it_nothing(
    house: House, upload: Upload, submit: Submit, holds: Holds
) -> None:
    job = submit()
    shutil.rmtree(house.settings.features_dir)
    assert [attempt["reason"] for attempt in holds(job).job["attempts"]] == ["succeeded"]
    file = upload(house.client, zipped(shapes(20, first=8000))).json()["id"]
    fresh = house.client.post(JOBS, json=ASKED | {"training_file": file, "n_epochs": 2}).json()["id"]
    wait_until(lambda: _computes_features(house.look(fresh)["progress"]), seconds=60)
    shutil.rmtree(house.settings.features_dir, ignore_errors=True)  # while features are computed
    wait_until(lambda: house.look(fresh)["status"] == "succeeded", seconds=60)


def _computes_features(progress: dict[str, Any]) -> bool:
    return bool(progress["phase"] == "features" and progress["images"])


def test_a_work_folder_that_is_deleted_under_a_running_job_fails_it_in_a_sentence(house: House, submit: Submit) -> None:
    job = submit()
    for folder in (house.settings.data_dir / "work").iterdir():
        shutil.rmtree(folder)
    house.gate.open()
    wait_until(lambda: house.look(job)["status"] in ("failed", "succeeded"), seconds=60)
    assert house.look(job)["error"]["code"] == "disk_full"
    assert str(house.folder) not in str(house.look(job))


def test_a_checkpoint_that_was_cut_is_passed_over_for_the_one_before(house: House, submit: Submit) -> None:
    """With 400 labels it is over 1 MB and lies in the file store; what lies in Redis the soak damages."""
    job = submit(num_labels=400)
    house.client.post(f"{JOBS}/{job}/pause")
    wait_until(lambda: house.look(job)["status"] == "paused", seconds=10)
    newest, *_, first = _checkpoints(house.client, job)
    assert newest != first
    _cut(house, job)
    assert house.client.get(f"{JOBS}/{job}/checkpoints/{newest['id']}/content").status_code == 404
    house.client.post(f"{JOBS}/{job}/resume")
    house.gate.open()
    wait_until(lambda: house.look(job)["status"] == "succeeded", seconds=120)
    steps = house.client.get(f"{JOBS}/{job}/metrics").json()["series"]["train_loss"]["step"]
    assert steps == list(range(1, house.look(job)["progress"]["total_steps"] + 1))


def _checkpoints(client: httpx.Client, job: str) -> list[dict[str, str]]:
    return list(client.get(f"{JOBS}/{job}/checkpoints").json()["data"])


def _cut(house: House, job: str) -> None:
    """Half of the newest checkpoint is gone."""
    number = int(house.redis.zrange(f"headway:job:{job}:checkpoints", -1, -1, withscores=True)[0][1])
    stored = house.settings.files_dir / "local" / "checkpoints" / job
    (path,) = stored.glob(f"*-{number}")
    os.truncate(path, path.stat().st_size // 2)
