"""`make bench`: each part, whole jobs, and what a user waits for. Both sides of a ratio are measured in turns.

make bench                                        all of it, n = 5: an hour on two slow cores
make bench ARGS="--runs 3 --only forward,decoding"
make bench ARGS="--only images --images 300,3000,30000"
make bench ARGS="--device cuda:0"
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import torch
from httpx_sse import connect_sse
from rich.console import Console
from rich.table import Table

from services.client import stack
from services.settings import Settings
from tests.benchmarks import crowd, dashboard, echo, fleet, jobs, parts, predicting, sharing
from tests.benchmarks.bars import BARS
from tests.benchmarks.page import Figure, Machine, Part, keep
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


def main() -> None:
    options = _options()
    place = Place(options.runs, options.device, options.photos, options.images)
    measured = []
    for measure in _measures(options):
        about = (measure.__doc__ or "").splitlines()[0]
        console.print(f"[dim]{about}[/]", highlight=False)
        figures = {name: summary(values) for name, values in measure(place).items()}
        command = _command(measure.__name__, options)
        measured.append(Part(name=measure.__name__, about=about, command=command, figures=figures))
    machine = hardware(options.device)
    show(machine, measured)
    keep(machine, measured)


def _command(measure: str, options: argparse.Namespace) -> str:
    given = {"device": "cpu", "runs": 5, "photos": 1024, "images": [300, 3000]}
    more = [f"--{name} {_said(options, name)}" for name, usual in given.items() if getattr(options, name) != usual]
    return f'make bench ARGS="{" ".join([f"--only {measure}", *more])}"'


def _said(options: argparse.Namespace, name: str) -> str:
    value = getattr(options, name)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


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
            echo.worker(url) as sender,
        ):
            wait_until(lambda: client.get("/v1/workers").json()["data"], seconds=120)
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
    return found


def again(place: Place) -> Figures:
    """A job of 10 epochs on 256 new JPEGs, and the same again the moment that it has ended: over HTTP, one worker."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        config = Settings(data_dir=Path(name), weights="random:0", port=free_port(), device=place.device)
        with (
            stack.running(config, workers=1, predictor=False) as running,
            httpx.Client(base_url=running.url, timeout=60) as client,
        ):
            for run in range(-1, place.runs):  # the first loads weights and warms kernels
                sent = {"file": ("photos.zip", zipped(parts.photos(256, first=256 * (run + 1))))}
                file = str(client.post("/v1/files", data={"purpose": "fine-tune"}, files=sent).json()["id"])
                cold, known = (_timed_job(client, file, n_epochs=10)[3] for _ in range(2))
                if run >= 0:
                    note(found, "a new job, s", cold)
                    note(found, "the same right after it, s", known)
                    note(found, "the same right after it / a new job", known / cold)
    return found


def _wait_for_spare() -> None:
    (spare,) = wait_until(lambda: trainers_of(os.getpid()), seconds=60)
    wait_until(lambda: is_idle(spare), seconds=jobs.READY_WITHIN)


def _uploaded(client: httpx.Client, first: int) -> str:
    files = {"file": ("shapes.zip", zipped(shapes(IMAGES, first=first)))}
    return str(client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"])


def _timed_job(client: httpx.Client, file: str, **asked: int) -> tuple[float, float, float, float]:
    """Seconds from the submission to its record, its first claim, its first loss and its model."""
    began, to_record, to_running, to_loss = time.time(), 0.0, 0.0, 0.0
    body = {"training_file": file, "feature_scaling": "standard"} | asked
    job = client.post("/v1/fine_tuning/jobs", json=body).json()["id"]
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


def images(place: Place) -> Figures:
    """Small drawn images, cold and known, as their number grows: seconds, and the trainer's memory at its most."""
    found: Figures = {}
    for count in place.images:
        found |= jobs.images_grow(place, count)
    return found


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


def summary(values: list[float]) -> Figure:
    return Figure(n=len(values), median=statistics.median(values), min=min(values), max=max(values))


def hardware(device: str = "cpu") -> Machine:
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        device=describe(device),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(machine: Machine, parts: list[Part]) -> None:
    console.print(" · ".join(f"{key} {value}" for key, value in machine), highlight=False)
    table = Table("figure", "n", "median", "min", "max", "bar")
    for name, of in ((name, figure) for part in parts for name, figure in part.figures.items()):
        bar = next((bar.verdict(of.median) for bar in BARS if bar.figure == name), "")
        table.add_row(name, str(of.n), *(f"{value:.3g}" for value in (of.median, of.min, of.max)), bar)
    console.print(table)


def _measures(options: argparse.Namespace) -> list[Callable[[Place], Figures]]:
    return [measure for measure in MEASURES if not options.only or measure.__name__ in options.only]


MEASURES: list[Callable[[Place], Figures]] = [
    parts.decoding,
    parts.forward,
    parts.engines,
    parts.pipeline,
    parts.head_step,
    parts.heads_grow,
    parts.streaming,
    crowd.crowd,
    crowd.hostile_uploads,
    dashboard.dashboard,
    predicting.predicting,
    predicting.predictor_cost,
    jobs.against_the_tutorial,
    jobs.sweeps,
    sharing.sharing,
    fleet.fleet,
    api_cost,
    first_loss,
    again,
    from_up_to_first_loss,
    images,
]


def _options() -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", type=listed, default=[], help=", ".join(m.__name__ for m in MEASURES))
    parser.add_argument("--images", type=lambda text: [int(count) for count in listed(text)], default=[300, 3000])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--photos", type=int, default=1024, help="images of a whole job")
    return parser.parse_args()


if __name__ == "__main__":
    main()
