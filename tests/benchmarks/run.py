"""`make bench`: each part, whole jobs, and what a user waits for. Both sides of a ratio are measured in turns.

make bench                                        all of it, n = 5: an hour on two slow cores
make bench ARGS="--runs 3 --only forward,decoding --out bench.json"
make bench ARGS="--only images --images 300,3000,30000"
make bench ARGS="--device cuda:0"
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import torch
from httpx_sse import connect_sse
from rich.console import Console
from rich.table import Table

from services.client import stack
from services.settings import Settings
from tests.benchmarks import echo, jobs, parts
from tests.benchmarks.parts import Figures, note
from tests.benchmarks.place import Place
from tests.conftest import free_port, running_api, running_valkey
from tests.drawing import shapes, zipped
from tests.processes import trainers_of
from tests.trainers import is_idle
from tests.waiting import wait_until
from workers.vision.device import describe

IMAGES = 20  # a job's, of each of two labels
console = Console()


class Bar(NamedTuple):
    """What a figure should reach: at least, or at most where `most`."""

    figure: str
    floor: float
    stretch: float
    most: bool = False

    def verdict(self, value: float) -> str:
        def reaches(wanted: float) -> bool:
            return value <= wanted if self.most else value >= wanted

        return "stretch" if reaches(self.stretch) else "floor" if reaches(self.floor) else "missed"


BARS = [
    Bar("tutorial / cold job, 1 epochs", 1.5, 1.9),
    Bar("tutorial / cold job, 10 epochs", 14, 18),
    Bar("tutorial / cold job, 25 epochs", 33, 45),
    Bar("tutorial / cold job, 10 epochs in bf16", 26, 36),
    Bar("tutorial / job on known images, 25 epochs", 500, 3000),
    Bar("pipeline / (decode and forward one after another)", 0.85, 0.95),
    Bar("head step, plain / ours", 6, 10),
    Bar("sweep of 16 / one job, cold", 1.15, 1.05, most=True),
    Bar("sweep of 16 / one job, known images", 3, 2, most=True),
    Bar("streaming, told / silent", 1.05, 1.02, most=True),
    Bar("submit to first loss, known images, s", 1.0, 0.3, most=True),
    Bar("submit to running / Celery's round trip", 2.0, 1.0, most=True),
    Bar("API start, s", 1.0, 0.7, most=True),
]


def main() -> None:
    options = _options()
    figures: Figures = {}
    place = Place(options.runs, options.device, options.photos)
    for measure in _measures(options):
        console.print(f"[dim]{(measure.__doc__ or '').splitlines()[0]}[/]", highlight=False)
        figures |= measure(place)
    for count in options.images if not options.only or "images" in options.only else ():
        figures |= jobs.images_grow(place, count)
    summaries = {name: summary(values) for name, values in figures.items()}
    report = {"hardware": hardware(options.device), "runs": options.runs, "figures": summaries}
    show(report)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def api_cost(place: Place) -> Figures:
    """An API process: from its start to its first answer, and its memory then."""
    starts, memory = [], []
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        with running_valkey(folder / "valkey.sock", folder) as url:
            for _ in range(place.runs):
                settings = Settings(data_dir=folder, redis_url=url, port=free_port())
                began = time.monotonic()
                with running_api(settings) as client:
                    starts.append(time.monotonic() - began)
                    memory.append(_memory_of("services.api", client) / 1e6)
    return {"API start, s": starts, "API memory, MB": memory}


def _memory_of(module: str, client: httpx.Client) -> float:
    assert client.get("/openapi.json").is_success
    children = psutil.Process().children()
    return float(next(c.memory_info().rss for c in children if module in " ".join(c.cmdline())))


def first_loss(place: Place) -> Figures:
    """A warm worker with a spare: from submission to running, first loss and model, on new images and on known ones."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        with (
            running_valkey(folder / "valkey.sock", folder) as url,
            stack.running(
                Settings(data_dir=folder, redis_url=url, weights="random:0", port=free_port(), device=place.device),
                workers=1,
            ) as running,
            httpx.Client(base_url=running.url, timeout=60) as client,
        ):
            wait_until(lambda: client.get("/v1/workers").json()["data"], seconds=120)
            command = [sys.executable, "-m", "tests.benchmarks.echo", url]
            with subprocess.Popen(command) as echoing:
                sender = echo.app(url)
                echo.seconds_to_a_worker(sender)
                for run in range(place.runs):
                    file = _uploaded(client, first=run * IMAGES)
                    for side in ("new images", "known images"):
                        _wait_for_spare()
                        round_trip = echo.seconds_to_a_worker(sender)
                        to_record, to_running, to_loss, to_end = _timed_job(client, file)
                        note(found, "submit to its record, ms", 1000 * to_record)
                        note(found, "submit to running, ms", 1000 * to_running)
                        note(found, "Celery's round trip, ms", 1000 * round_trip)
                        note(found, "submit to running / Celery's round trip", to_running / round_trip)
                        note(found, f"submit to first loss, {side}, s", to_loss)
                        note(found, f"submit to model, {side}, s", to_end)
                echoing.terminate()
    return found


def _wait_for_spare() -> None:
    (spare,) = wait_until(lambda: trainers_of(os.getpid()), seconds=60)
    wait_until(lambda: is_idle(spare), seconds=jobs.READY_WITHIN)


def _uploaded(client: httpx.Client, first: int) -> str:
    files = {"file": ("shapes.zip", zipped(shapes(IMAGES, first=first)))}
    return str(client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"])


def _timed_job(client: httpx.Client, file: str) -> tuple[float, float, float, float]:
    """Seconds from the submission to its record, its first claim, its first loss and its model."""
    began, to_record, to_running, to_loss = time.time(), 0.0, 0.0, 0.0
    job = client.post("/v1/fine_tuning/jobs", json={"training_file": file, "feature_scaling": "standard"}).json()["id"]
    with connect_sse(client, "GET", f"/v1/fine_tuning/jobs/{job}/events") as source:
        for event in source.iter_sse():
            if "Job accepted" in event.data:
                to_record = _millis(event.id) / 1000 - began  # the script's own time
            if "Attempt 1 started" in event.data:
                to_running = _millis(event.id) / 1000 - began
            if not to_loss and event.event == "message" and "series" in event.json()["data"]:
                to_loss = time.time() - began
    return to_record, to_running, to_loss, time.time() - began


def _millis(id: str) -> int:
    return int(id.split("-")[0])


def from_up_to_first_loss(place: Place) -> Figures:
    """`headway up --sample` on an empty data folder: from the command to the first loss of the sample."""
    seconds = [_timed_up(place.device) for _ in range(place.runs)]
    return {"up to first loss (sample), s": seconds}


def _timed_up(device: str) -> float:
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        options = ["--exit-after-sample", "--port", str(free_port()), "--data-dir", folder]
        environment = os.environ | {"HEADWAY_WEIGHTS": "random:0", "HEADWAY_DEVICE": device, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "services.client.main", "up", *options]
        began, to_loss = time.monotonic(), 0.0
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not to_loss and "Step " in line:
                    to_loss = time.monotonic() - began
        assert process.returncode == 0
        return to_loss


# --- the report ----------------------------------------------------------------------------------------------------


def summary(values: list[float]) -> dict[str, Any]:
    return {"n": len(values), "median": statistics.median(values), "min": min(values), "max": max(values)}


def hardware(device: str = "cpu") -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": describe(device),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(report: dict[str, Any]) -> None:
    console.print(" · ".join(f"{key} {value}" for key, value in report["hardware"].items()), highlight=False)
    table = Table("figure", "n", "median", "min", "max")
    for name, figure in report["figures"].items():
        table.add_row(name, str(figure["n"]), *(f"{figure[key]:.3g}" for key in ("median", "min", "max")))
    console.print(table)
    bars = Table("bar", "median", "floor", "stretch", "reached")
    for bar in BARS:
        if figure := report["figures"].get(bar.figure):
            reached = bar.verdict(figure["median"])
            bars.add_row(bar.figure, f"{figure['median']:.3g}", f"{bar.floor:g}", f"{bar.stretch:g}", reached)
    console.print(bars)


def _measures(options: argparse.Namespace) -> list[Callable[[Place], Figures]]:
    return [measure for measure in MEASURES if not options.only or measure.__name__ in options.only]


MEASURES: list[Callable[[Place], Figures]] = [
    parts.decoding,
    parts.forward,
    parts.pipeline,
    parts.head_step,
    parts.heads_grow,
    parts.streaming,
    jobs.against_the_tutorial,
    jobs.sweeps,
    api_cost,
    first_loss,
    from_up_to_first_loss,
]


def _options() -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", type=listed, default=[], help=", ".join(m.__name__ for m in MEASURES) + ", images")
    parser.add_argument("--images", type=lambda text: [int(count) for count in listed(text)], default=[300, 3000])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--photos", type=int, default=1024, help="images of a whole job")
    parser.add_argument("--out", type=Path, help="keep the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
