"""`make chaos MINUTES=30 SEED=7`: short jobs in a house in which something is always being killed, cut, filled or lost.

Faults, wishes and their moments come from the seed; when they meet what is the machine's affair. At the end everything
is healed, every job must end, and every record, stream and file is checked (see `verdict`).
"""

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tests.chaos.faults import FAULTS
from tests.chaos.gauge import Gauge
from tests.chaos.house import House, Part
from tests.chaos.verdict import ENDS, Told, faults_of, leftovers
from tests.drawing import shapes, zipped
from tests.jobs import JOBS

RECIPES: list[dict[str, Any]] = [
    {"n_epochs": 12_000, "batch_size": 4, "learning_rate": 1e-3, "seed": 1},
    {"n_epochs": 6_000, "batch_size": 2, "learning_rate": 1e-2, "seed": 2, "feature_scaling": "standard"},
    {"n_epochs": 20_000, "batch_size": 8, "learning_rate": 1e-3, "seed": 3, "lr_schedule": "cosine"},
]
IN_FLIGHT = 4  # jobs at a time
LAST_SECONDS = 3.0  # what a Valkey that is killed may lose: `appendfsync everysec`, and a write that waits for it
SETTLE = 300.0  # seconds that all jobs have to end once nothing is done to them any more


@dataclass
class Submission:
    """A job, and what a client heard of it: event ids, and when."""

    recipe: int
    id: str
    at: float
    heard: dict[str, float] = field(default_factory=dict)


class Soak:
    def __init__(self, house: House, seed: int) -> None:
        self.house, self.random = house, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.submissions: list[Submission] = []
        self.store_kills: list[float] = []
        self.ends: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()  # by the reason of their end
        self.found: list[str] = []  # what was wrong, in sentences
        self.gauge = Gauge(house)
        self._later: list[tuple[float, str, Callable[[], None]]] = []  # when, whose, what is undone
        self._over = threading.Event()
        self._file = ""

    # --- the course of it ----------------------------------------------------------------------------------------

    def run(self, minutes: float, console: Console) -> list[str]:
        """What was found wrong, in sentences."""
        undisturbed = self._undisturbed()
        self._disturb(minutes, console)
        self._settle()
        return self._found(undisturbed)

    def _undisturbed(self) -> list[Told]:
        content = zipped(shapes(6))
        form = {"purpose": "fine-tune"}
        self._file = self.house.client.post("/v1/files", data=form, files={"file": ("a.zip", content)}).json()["id"]
        ids = [self._submit(recipe).id for recipe in range(len(RECIPES))]
        self._until(lambda: all(self._status(id) == "succeeded" for id in ids), 180)
        return [Told.of(self.house.client, id) for id in ids]

    def _disturb(self, minutes: float, console: Console) -> None:
        columns = [TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=console) as bar:
            began, task = time.monotonic(), bar.add_task("", total=minutes * 60)
            due = began
            while (now := time.monotonic()) < began + minutes * 60:
                self._undo_what_is_due(now)
                self._keep_submitting()
                self.gauge.look(now - began)
                if now >= due:
                    self._one_fault()
                    due = now + self.random.uniform(1.0, 6.0)
                said = f"{sum(self.counts.values())} faults and wishes, {len(self.submissions)} jobs"
                bar.update(task, completed=now - began, description=said)
                time.sleep(0.2)

    def _settle(self) -> None:
        """Nothing more is done; everything that was begun must end."""
        self._undo_what_is_due(float("inf"))
        self.house.heal()
        self._until(self._all_ended, SETTLE)
        self._over.set()

    def _all_ended(self) -> bool:
        states = {submission.id: self._status(submission.id) for submission in self.submissions}
        for id in [id for id, status in states.items() if status == "paused"]:
            self._wish(id, "resume")
        return all(status in (*ENDS, "lost") for status in states.values())

    # --- jobs ----------------------------------------------------------------------------------------------------

    def _keep_submitting(self) -> None:
        open_jobs = [s for s in self.submissions if self._status(s.id) not in (*ENDS, "lost", "paused")]
        if len(open_jobs) < IN_FLIGHT:
            with contextlib.suppress(httpx.HTTPError):
                self._submit(self.random.randrange(len(RECIPES)))

    def _submit(self, recipe: int) -> Submission:
        """With a key, so that a submission whose answer was lost can be made again: it must give the same job."""
        key = f"soak-{len(self.submissions)}"
        body = {"training_file": self._file} | RECIPES[recipe]
        answer = self.house.client.post(JOBS, json=body, headers={"Idempotency-Key": key}).raise_for_status()
        submission = Submission(recipe, answer.json()["id"], time.time())
        self.submissions.append(submission)
        threading.Thread(target=self._follow, args=(submission,), daemon=True).start()
        return submission

    def _follow(self, submission: Submission) -> None:
        for event in self.house.followed(submission.id, self._over):
            submission.heard[event.id] = time.time()

    def _status(self, id: str) -> str:
        """Straight from the record; "" while the store does not answer."""
        with contextlib.suppress(RedisError):
            return str(self.house.redis.hget(f"headway:job:{id}", "status") or "lost")
        return ""

    def _wish(self, id: str, action: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self.house.client.post(f"{JOBS}/{id}/{action}")

    # --- faults --------------------------------------------------------------------------------------------------

    def _one_fault(self) -> None:
        """Draws one; what it needs may be broken already, then it is left out."""
        name = self.random.choices(list(FAULTS), [weight for weight, _ in FAULTS.values()])[0]
        with contextlib.suppress(RedisError, httpx.HTTPError, StopIteration, IndexError, OSError, UnicodeError):
            if FAULTS[name][1](self):
                self.counts[name] += 1

    @property
    def disturbed(self) -> list[Submission]:
        return self.submissions[len(RECIPES) :]

    def later(self, seconds: float, whose: str, undo: Callable[[], None]) -> bool:
        self._later.append((time.monotonic() + seconds, whose, undo))
        return True

    def is_busy(self, whose: str) -> bool:
        return any(name == whose for _, name, _ in self._later)

    def between(self, least: float, most: float) -> float:
        return self.random.uniform(least, most)

    def part(self, *parts: Part) -> Part:
        """One of them that runs and to which nothing is being done. Raises IndexError."""
        return self.random.choice([part for part in parts if part.is_alive and not self.is_busy(part.name)])

    def _undo_what_is_due(self, now: float) -> None:
        for entry in [entry for entry in self._later if entry[0] <= now]:
            try:
                entry[2]()
            except (RedisError, OSError):
                if now < float("inf"):
                    continue  # not yet
            self._later.remove(entry)
        for worker in self.house.workers:
            if not worker.is_alive and not self.is_busy(worker.name):
                worker.start()  # it was drained

    @staticmethod
    def _until(condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.2)

    # --- the verdict ---------------------------------------------------------------------------------------------

    def _found(self, undisturbed: list[Told]) -> list[str]:
        found = [*self.found, *self.gauge.growth()]
        for submission in self.submissions:
            if self._status(submission.id) == "lost":
                found += [] if self._was_in_the_last_seconds(submission.at) else [f"{submission.id} was lost"]
                self.ends["lost with the last second of a killed Valkey"] += 1
                continue
            told = Told.of(self.house.client, submission.id)
            self.ends[told.job["status"]] += 1
            self.attempts.update(attempt["reason"] for attempt in told.job["attempts"])
            found += faults_of(told, undisturbed[submission.recipe], one_clock="clock jumped" not in self.counts)
            found += self._unheard(submission, told)
        made = len(self.house.redis.zrange("headway:jobs:tenant:local", 0, -1))
        if made > len(self.submissions):
            found.append(f"{len(self.submissions)} submissions made {made} jobs")
        self._until(lambda: not self.house.trainers(), 10)
        found += [f"trainer {pid} runs on" for pid in self.house.trainers()]
        return found + leftovers(self.house)

    def _unheard(self, submission: Submission, told: Told) -> list[str]:
        self._until(lambda: told.events[-1]["id"] in submission.heard, 10)
        known = {event["id"] for event in told.events}
        missed = [id for id in known if id not in submission.heard]
        too_many = [
            id for id, at in submission.heard.items() if id not in known and not self._was_in_the_last_seconds(at)
        ]
        found = {"never heard": missed, "heard, which never were,": too_many}
        return [f"{submission.id}: a client {what} {len(ids)}, as {ids[:3]}" for what, ids in found.items() if ids]

    def _was_in_the_last_seconds(self, at: float) -> bool:
        return any(kill - LAST_SECONDS - 1 <= at <= kill + 1 for kill in self.store_kills)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    console = Console(stderr=True)
    log = Path(tempfile.mkdtemp(prefix="headway-soak-logs-"))
    with contextlib.ExitStack() as stack:
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with console.status("building the house"):
            house = stack.enter_context(House.built(cache, log, time_scale=1.0, gated=False))
        soak = Soak(house, asked.seed)
        found = soak.run(asked.minutes, console)
    report = {"minutes": asked.minutes, "seed": asked.seed, "jobs": len(soak.submissions), "ends": soak.ends}
    report |= {"attempts": soak.attempts, "faults": dict(soak.counts.most_common())}
    report |= {"usual": soak.gauge.usual, "found": found}
    print(json.dumps(report, indent=2))
    if found:
        console.print(f"The logs are in {log}.", style="bold red", highlight=False)
        return 1
    shutil.rmtree(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
