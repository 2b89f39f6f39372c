"""How fast the compose stack scales from zero and back: `python -m tests.benchmarks.scaling --runs 10` (needs Docker).

Each run: no worker runs; a job is submitted; the autoscaler decides, a container starts, its preflight passes, the job
runs; it ends, and after a cool-down of 2 s the worker drains. Seconds from the submission to the decision and to the
first attempt, and from the end of the cool-down to the container's end.
"""

import argparse
import statistics
import time

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.benchmarks.run import hardware
from tests.containers.project import Project, cooldown
from tests.drawing import shapes, zipped
from tests.jobs import JOBS, ended
from tests.waiting import wait_until

COOLDOWN = 2.0
console = Console()


def main(runs: int) -> None:
    figures: dict[str, list[float]] = {"queued to decided": [], "queued to running": [], "cooled down to gone": []}
    with Project.up("headway-bench", settings=cooldown(COOLDOWN)) as project:
        file = project.client.post(
            "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("shapes.zip", zipped(shapes(4)))}
        ).json()["id"]
        for _ in track(range(runs), console=console, transient=True):
            for name, seconds in zip(figures, timed(project, file), strict=True):
                figures[name].append(seconds)
    show(figures)


def timed(project: Project, file: str) -> tuple[float, float, float]:
    wait_until(lambda: not project.containers("worker", all=False), seconds=120)
    asked = time.time()
    job = project.client.post(JOBS, json={"training_file": file, "n_epochs": 1}).json()["id"]
    wait_until(lambda: project.client.get(f"{JOBS}/{job}").json()["status"] != "queued", seconds=120, every=0.02)
    running = time.time()
    decided = next(d["at"] for d in reversed(project.autoscaler()["decisions"]) if d["at"] > asked and d["start"])
    ended(project.client, job)
    over = time.time()
    wait_until(lambda: not project.containers("worker", all=False), seconds=60)
    return decided - asked, running - asked, time.time() - over - COOLDOWN


def show(figures: dict[str, list[float]]) -> None:
    console.print(" · ".join(f"{key} {value}" for key, value in hardware()), highlight=False)
    table = Table("seconds", "n", "p50", "p95", "min", "max")
    for name, values in figures.items():
        p95 = sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]
        row = (statistics.median(values), p95, min(values), max(values))
        table.add_row(name, str(len(values)), *(f"{value:.1f}" for value in row))
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    main(parser.parse_args().runs)
