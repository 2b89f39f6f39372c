"""A pass that two workers share, each pinned to a core, against two processes that know nothing of each other."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.client import stack
from services.contract.shards import HelperSpec, shard_size
from services.datasets.index import read_index
from services.settings import Settings
from tests.benchmarks.parts import Figures, note, photos
from tests.benchmarks.place import Place
from tests.conftest import free_port
from tests.drawing import zipped
from tests.jobs import JOBS, ended
from tests.trainers import indexed
from tests.waiting import wait_until
from workers.vision.pipeline import BATCH

COUNT = 1536  # photos of a pass
SETTLED = 12.0  # until processes that were started have torch and weights, and do nothing more


def sharing(place: Place) -> Figures:
    """One pass over JPEGs of 640 × 480: two workers pinned to a core each, against two independent pinned processes."""
    found: Figures = {}
    for run in range(place.runs):
        files = photos(COUNT, first=100_000 + run * COUNT)
        alone = COUNT / _independent(place, files)
        shared = COUNT / _shared(files)
        note(found, "two independent pinned processes, img/s", alone)
        note(found, "one pass, two pinned workers, img/s", shared)
        note(found, "one pass, two workers / two independent processes", shared / alone)
    return found


def _independent(place: Place, files: dict[str, bytes]) -> float:
    """Seconds from the first order to the last answer of two helpers' trainers, each with half of the shards."""
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        archive = indexed(zipped(files), folder)
        plan = folder / "plan"
        plan.write_bytes(b"".join(bytes.fromhex(image.sha256) for image in read_index(Path(archive.index))))
        size = shard_size(COUNT, BATCH["cpu"])
        helpers = []
        for core in (0, 1):
            (out := folder / str(core)).mkdir()
            spec = HelperSpec(prepared=place.prepared(), archives=[archive], plan=str(plan), size=size, out=str(out))
            helper = _pinned(core, "workers.trainer.helper")
            assert helper.stdin is not None
            helper.stdin.write(spec.model_dump_json().encode() + b"\n")
            helper.stdin.flush()
            helpers.append(helper)
        time.sleep(SETTLED)
        began = time.monotonic()
        for core, helper in enumerate(helpers):
            assert helper.stdin is not None
            helper.stdin.write(b"".join(b"%d\n" % shard for shard in range(core, COUNT // size, 2)))
            helper.stdin.close()
        for helper in helpers:
            assert helper.wait() == 0
        seconds = time.monotonic() - began
        for helper in helpers:
            assert helper.stdout is not None
            helper.stdout.close()
        return seconds


def _shared(files: dict[str, bytes]) -> float:
    """Seconds of a job's pass, as it says."""
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        config = Settings(data_dir=Path(name), weights="random:0", port=free_port(), device="cpu")
        with (
            stack.running(config, workers=0, predictor=False) as running,
            _workers(running.settings),
            httpx.Client(base_url=running.url, timeout=120) as client,
        ):
            wait_until(lambda: len(client.get("/v1/workers").json()["data"]) == 2, seconds=120)
            time.sleep(SETTLED)
            content = {"file": ("photos.zip", zipped(files))}
            file = client.post("/v1/files", data={"purpose": "fine-tune"}, files=content).json()["id"]
            body = {"training_file": file, "n_epochs": 1, "split": 0, "precision": "fp32", "export": []}
            job = client.post(JOBS, json=body).json()["id"]
            ended(client, job)
            told = client.get(f"{JOBS}/{job}/events", params={"limit": 1000}).json()["data"]
            assert any(event["data"].get("helpers") for event in told), client.get("/v1/workers").text
            said = next(event["message"] for event in told if "computed in" in event["message"])
            return float(said.rpartition(" in ")[2].removesuffix(" s."))


@contextmanager
def _workers(config: Settings) -> Iterator[None]:
    processes = [_pinned(core, "workers.main", "--tethered", **config.as_environment()) for core in (0, 1)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.communicate()


def _pinned(core: int, *module: str, **environment: str) -> "subprocess.Popen[bytes]":
    command = ["taskset", "-c", str(core), sys.executable, "-m", *module]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=os.environ | environment)
