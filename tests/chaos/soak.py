"""`make chaos MINUTES=30 SEED=7`: short jobs in a house in which something is always being killed, cut, filled or lost.

Faults, wishes and their moments come from the seed; when they meet what is the machine's affair. At the end everything
is healed, every job must end, and every record, stream and file is checked (see `verdict`).
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
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

from services.store import keys
from tests.chaos.house import House, Part
from tests.chaos.line import Mode
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
    """A job, and what a client heard of it: event ids with the time of their making."""

    recipe: int
    id: str
    at: float
    heard: dict[str, int] = field(default_factory=dict)


class Soak:
    def __init__(self, house: House, seed: int) -> None:
        self.house, self.random = house, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.submissions: list[Submission] = []
        self.store_kills: list[float] = []
        self.ends: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()  # by the reason of their end
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
            submission.heard[event.id] = event.json()["created_at"]

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
        with contextlib.suppress(RedisError, httpx.HTTPError, StopIteration, IndexError, OSError):
            if FAULTS[name][1](self):
                self.counts[name] += 1

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
        found: list[str] = []
        for submission in self.submissions:
            if self._status(submission.id) == "lost":
                found += [] if self._was_in_the_last_seconds(submission.at) else [f"{submission.id} was lost"]
                self.ends["lost with the last second of a killed Valkey"] += 1
                continue
            told = Told.of(self.house.client, submission.id)
            self.ends[told.job["status"]] += 1
            self.attempts.update(attempt["reason"] for attempt in told.job["attempts"])
            found += faults_of(told, undisturbed[submission.recipe])
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


# --- what is done --------------------------------------------------------------------------------------------------


def _kill(soak: Soak, part: Part, seconds: float) -> bool:
    part.kill()
    return soak.later(seconds, part.name, part.start)


def _worker_killed(soak: Soak) -> bool:
    return _kill(soak, soak.part(*soak.house.workers), soak.between(0, 6))


def _trainer_killed(soak: Soak) -> bool:
    os.kill(soak.random.choice(soak.house.trainers()), signal.SIGKILL)
    return True


def _trainer_stopped(soak: Soak) -> bool:
    trainer = soak.random.choice(soak.house.trainers())
    os.kill(trainer, signal.SIGSTOP)

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(trainer, signal.SIGCONT)

    return soak.later(soak.between(1, 12), f"trainer {trainer}", go_on)


def _worker_drained(soak: Soak) -> bool:
    soak.part(*soak.house.workers).send(signal.SIGTERM)
    return True


def _worker_drained_by_the_api(soak: Soak) -> bool:
    workers = soak.house.client.get("/v1/workers").raise_for_status().json()["data"]
    soak.house.client.post(f"/v1/workers/{soak.random.choice(workers)['id']}/drain").raise_for_status()
    return True


def _stopped(soak: Soak, part: Part, seconds: float) -> bool:
    part.send(signal.SIGSTOP)
    return soak.later(seconds, part.name, lambda: part.send(signal.SIGCONT))


def _worker_stopped(soak: Soak) -> bool:
    return _stopped(soak, soak.part(*soak.house.workers), soak.between(1, 50))


def _store_stopped(soak: Soak) -> bool:
    return _stopped(soak, soak.part(soak.house.store), soak.between(1, 8))


def _api_killed(soak: Soak) -> bool:
    return _kill(soak, soak.part(soak.house.api), soak.between(0, 4))


def _api_ended(soak: Soak) -> bool:
    api = soak.part(soak.house.api)
    api.send(signal.SIGTERM)
    api.wait()
    return soak.later(soak.between(0, 4), api.name, api.start)


def _reaper_killed(soak: Soak) -> bool:
    return _kill(soak, soak.part(soak.house.reaper), soak.between(0, 20))


def _store_killed(least: float, most: float) -> Callable[[Soak], bool]:
    def kill(soak: Soak) -> bool:
        store = soak.part(soak.house.store)
        soak.store_kills.append(time.time())
        return _kill(soak, store, soak.between(least, most))

    return kill


def _store_restarted(soak: Soak) -> bool:
    store = soak.part(soak.house.store)
    store.send(signal.SIGTERM)
    store.wait()
    return soak.later(soak.between(0, 3), store.name, store.start)


def _line_cut(how: Mode, most: float) -> Callable[[Soak], bool]:
    def cut(soak: Soak) -> bool:
        name = soak.random.choice(list(soak.house.lines))
        if soak.is_busy(f"line of {name}"):
            return False
        line = soak.house.lines[name]
        line.cut(how)
        return soak.later(soak.between(1, most), f"line of {name}", line.mend)

    return cut


def _redis_full(soak: Soak) -> bool:
    soak.house.redis.config_set("maxmemory", "1mb")
    return soak.later(soak.between(2, 15), "memory", lambda: _make_room(soak))


def _make_room(soak: Soak) -> None:
    soak.house.redis.config_set("maxmemory", 0)


def _hints_lost(soak: Soak) -> bool:
    return bool(soak.house.redis.delete(keys.train_queue("any"), keys.train_queue("cpu")))


def _hints_doubled(soak: Soak) -> bool:
    hint = soak.house.redis.lindex(keys.train_queue("any"), 0)
    return bool(hint and soak.house.redis.lpush(keys.train_queue("any"), hint, hint))


def _garbage_among_the_hints(soak: Soak) -> bool:
    garbage = soak.random.choice([b"", b"garbage", b"\xff", b"null", b"[]", b'{"headers": {"task": "theirs"}}'])
    return bool(soak.house.redis.lpush(keys.train_queue("any"), *[garbage] * 3))


def _redis_read_only(soak: Soak) -> bool:
    """As an old primary after a failover."""
    if soak.is_busy(soak.house.store.name):
        return False
    soak.house.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    back = lambda: soak.house.redis.execute_command("REPLICAOF", "NO", "ONE")  # noqa: E731
    return soak.later(soak.between(1, 20), soak.house.store.name, back)


def _silent_connections(soak: Soak) -> bool:
    where = soak.house.client.base_url
    silent = contextlib.ExitStack()
    for _ in range(300):
        silent.enter_context(socket.create_connection((where.host, where.port or 0), timeout=10))
    return soak.later(soak.between(1, 30), "silent connections", silent.close)


def _cache_deleted(soak: Soak) -> bool:
    shutil.rmtree(soak.house.settings.features_dir)
    return True


def _checkpoint_cut(soak: Soak) -> bool:
    job = soak.random.choice(soak.house.redis.zrange("headway:jobs:running", 0, -1))
    index = soak.house.redis.zrange(f"headway:job:{job}:checkpoints", -1, -1, withscores=True)
    return bool(
        int(index[0][1]) > 0
        and soak.house.redis.setrange(f"headway:job:{job}:checkpoint:{int(index[0][1])}", 100, "cut")
    )


def _wished(action: str) -> Callable[[Soak], bool]:
    def wish(soak: Soak) -> bool:
        ids = [submission.id for submission in soak.submissions[len(RECIPES) :][-8:]]
        answer = soak.house.client.post(f"{JOBS}/{soak.random.choice(ids)}/{action}")
        return answer.status_code == 200

    return wish


FAULTS: dict[str, tuple[int, Callable[[Soak], bool]]] = {
    "worker killed": (6, _worker_killed),
    "trainer killed": (5, _trainer_killed),
    "trainer stopped": (3, _trainer_stopped),
    "worker drained": (4, _worker_drained),
    "worker drained by the API": (2, _worker_drained_by_the_api),
    "worker stopped": (4, _worker_stopped),
    "API killed": (3, _api_killed),
    "API ended": (2, _api_ended),
    "reaper killed": (2, _reaper_killed),
    "Valkey killed": (2, _store_killed(0, 8)),
    "Valkey restarted": (2, _store_restarted),
    "Valkey gone for 30 to 50 s": (1, _store_killed(30, 50)),
    "Valkey stopped": (2, _store_stopped),
    "line swallowed": (4, _line_cut(Mode.SWALLOWED, 45)),
    "answers lost": (4, _line_cut(Mode.DEAF, 8)),
    "line refused": (2, _line_cut(Mode.REFUSED, 15)),
    "Redis full": (3, _redis_full),
    "hints lost": (3, _hints_lost),
    "hints doubled": (2, _hints_doubled),
    "garbage among the hints": (3, _garbage_among_the_hints),
    "Redis read-only": (3, _redis_read_only),
    "silent connections": (2, _silent_connections),
    "feature cache deleted": (1, _cache_deleted),
    "checkpoint cut": (3, _checkpoint_cut),
    "cancel": (2, _wished("cancel")),
    "pause": (4, _wished("pause")),
    "resume": (6, _wished("resume")),
}


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
    report |= {"attempts": soak.attempts, "faults": dict(soak.counts.most_common()), "found": found}
    print(json.dumps(report, indent=2))
    if found:
        console.print(f"The logs are in {log}.", style="bold red", highlight=False)
        return 1
    shutil.rmtree(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
