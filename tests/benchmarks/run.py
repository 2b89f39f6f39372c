"""`make bench`: what a user waits for, and what an idle API costs. Both sides of a ratio are measured in turns.

make bench                      all of it, n = 5
make bench ARGS="--runs 3 --out bench.json"
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
from pathlib import Path
from typing import Any

import httpx
import psutil
from httpx_sse import connect_sse
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.client import stack
from services.settings import Settings
from tests.conftest import free_port, running_api, running_valkey
from tests.drawing import shapes, zipped
from tests.waiting import wait_until

IMAGES = 20  # a job's, of each of two labels
console = Console()


def main() -> None:
    options = _options()
    figures: dict[str, list[float]] = {}
    for measure in (api_cost, first_loss, from_up_to_first_loss):
        console.print(f"[dim]{(measure.__doc__ or '').splitlines()[0]}[/]", highlight=False)
        figures |= measure(options.runs)
    report = {"hardware": hardware(), "runs": options.runs, "figures": {n: summary(v) for n, v in figures.items()}}
    show(report)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def api_cost(runs: int) -> dict[str, list[float]]:
    """An API process: from its start to its first answer, and its memory then."""
    starts, memory = [], []
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        with running_valkey(folder / "valkey.sock", folder) as url:
            for _ in track(range(runs), console=console, transient=True):
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


def first_loss(runs: int) -> dict[str, list[float]]:
    """A warm worker: from submission to first loss and to the model, on new images and on known ones, in turns."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        settings = Settings(data_dir=Path(name), weights="random:0", port=free_port())
        with stack.running(settings, workers=1) as running, httpx.Client(base_url=running.url, timeout=60) as client:
            wait_until(lambda: client.get("/v1/workers").json()["data"], seconds=120)
            for run in track(range(runs), console=console, transient=True):
                file = _uploaded(client, first=run * IMAGES)
                for side in ("new images", "known images"):
                    to_loss, to_end = _timed_job(client, file)
                    found.setdefault(f"submit to first loss, {side}, s", []).append(to_loss)
                    found.setdefault(f"submit to model, {side}, s", []).append(to_end)
    new, known = found["submit to model, new images, s"], found["submit to model, known images, s"]
    found["submit to model, new / known"] = [a / b for a, b in zip(new, known, strict=True)]
    return found


def _uploaded(client: httpx.Client, first: int) -> str:
    files = {"file": ("shapes.zip", zipped(shapes(IMAGES, first=first)))}
    return str(client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).json()["id"])


def _timed_job(client: httpx.Client, file: str) -> tuple[float, float]:
    began, to_loss = time.monotonic(), 0.0
    job = client.post("/v1/fine_tuning/jobs", json={"training_file": file, "feature_scaling": "standard"}).json()["id"]
    with connect_sse(client, "GET", f"/v1/fine_tuning/jobs/{job}/events") as source:
        for event in source.iter_sse():
            if not to_loss and event.event == "message" and "series" in event.json()["data"]:
                to_loss = time.monotonic() - began
    return to_loss, time.monotonic() - began


def from_up_to_first_loss(runs: int) -> dict[str, list[float]]:
    """`headway up --sample` on an empty data folder: from the command to the first loss of the sample."""
    seconds = [_timed_up() for _ in track(range(runs), console=console, transient=True)]
    return {"up to first loss (sample), s": seconds}


def _timed_up() -> float:
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        options = ["--exit-after-sample", "--port", str(free_port()), "--data-dir", folder]
        environment = os.environ | {"HEADWAY_WEIGHTS": "random:0", "PYTHONUNBUFFERED": "1"}
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


def hardware() -> dict[str, Any]:
    import torch  # after the measurements, so that it costs them nothing

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
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
        table.add_row(name, str(figure["n"]), *(f"{figure[key]:.2f}" for key in ("median", "min", "max")))
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="keep the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
