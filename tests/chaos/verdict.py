"""What must hold of every job, whatever was done to it: each function gives what does not, in sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors.torch import load

from services.contract.ids import is_id
from tests.chaos.house import House
from tests.jobs import JOBS

ENDS = ("succeeded", "failed", "cancelled")
CLOSE = 1e-6  # what §7 of the design promises of a resumed curve, on the same device
LOST = ("worker_lost", "out_of_memory")

Series = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Told:
    """What a job left, as its clients see it. `events` are oldest first."""

    job: dict[str, Any]
    events: list[dict[str, Any]]
    series: Series
    head: dict[str, torch.Tensor] | None

    @classmethod
    def of(cls, client: httpx.Client, id: str) -> "Told":
        job = _json(client, f"{JOBS}/{id}")
        events = list(_pages(client, f"{JOBS}/{id}/events"))[::-1]
        series = _json(client, f"{JOBS}/{id}/metrics")["series"]
        return cls(job, events, series, _head(client, job["fine_tuned_model"]))


def _json(client: httpx.Client, url: str, **params: Any) -> Any:
    return client.get(url, params=params).raise_for_status().json()


def _pages(client: httpx.Client, url: str) -> Iterator[dict[str, Any]]:
    after: dict[str, str] = {}
    while True:
        page = _json(client, url, limit=100, **after)
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"after": page["data"][-1]["id"]}


def _head(client: httpx.Client, model: str | None) -> dict[str, torch.Tensor] | None:
    if model is None:
        return None
    content = client.get(f"/v1/models/{model}/content", params={"format": "safetensors"}).raise_for_status().content
    return load(content)


def reasons(told: Told) -> list[str]:
    """Why each attempt ended."""
    return [attempt["reason"] for attempt in told.job["attempts"]]


# --- a job ---------------------------------------------------------------------------------------------------------


def faults_of(told: Told, undisturbed: Told, *, one_clock: bool = True) -> list[str]:
    """Nothing, if the job ended once, on the curve of `undisturbed`, under one owner at a time. Without `one_clock`,
    times say nothing of that."""
    overlaps = _overlaps(told) if one_clock else ()
    found = [
        *_end(told),
        *_order(told),
        *_owners(told),
        *overlaps,
        *_curve(told, undisturbed),
        *_model(told, undisturbed),
    ]
    return [f"{told.job['id']}: {fault}" for fault in found]


def _end(told: Told) -> Iterator[str]:
    ends = [event for event in told.events if (event["data"] or {}).get("status") in ENDS]
    if told.job["status"] not in ENDS:
        yield f"has not ended: {told.job['status']}, {told.job['status_reason']['message']}"
    elif len(ends) != 1:
        yield f"ended {len(ends)} times"
    elif ends[0] != told.events[-1]:
        yield "said something after its end"
    elif ends[0]["data"]["status"] != told.job["status"]:
        yield f"is {told.job['status']}, its last event says {ends[0]['data']['status']}"


def _order(told: Told) -> Iterator[str]:
    ids = [_place(event) for event in told.events]
    if any(later <= earlier for earlier, later in pairwise(ids)):
        yield "its events' ids do not rise"


def _place(event: dict[str, Any]) -> tuple[int, int]:
    fence, _, number = event["id"].partition("-")
    return int(fence), int(number)


def _owners(told: Told) -> Iterator[str]:
    """One at a time: claims carry rising fences, and what an attempt said stands under its own."""
    fence = -1
    for event in told.events:
        if re.match(r"Attempt \d+ started", event["message"]):
            if _place(event)[0] <= fence:
                yield f"a claim without a new fence: {event['message']}"
            fence = _place(event)[0]
        elif event["type"] == "metrics" and _place(event)[0] != fence:
            yield f"a metrics event under another fence than its attempt's: {event['message']}"
    attempts = told.job["attempts"]
    if [attempt["number"] for attempt in attempts] != list(range(1, len(attempts) + 1)):
        yield "its attempts are not numbered 1, 2, …"


def _overlaps(told: Told) -> Iterator[str]:
    for earlier, later in pairwise(told.job["attempts"]):
        if earlier["ended_at"] is None or earlier["ended_at"] > later["started_at"]:
            yield f"attempts {earlier['number']} and {later['number']} overlap"


def _curve(told: Told, undisturbed: Told) -> Iterator[str]:
    for name, wanted in undisturbed.series.items():
        steps, values = told.series[name]["step"], told.series[name]["value"]
        if steps != wanted["step"][: len(steps)]:
            yield f"{name} has a gap or a step twice"
        elif any(abs(a - b) > CLOSE for a, b in zip(values, wanted["value"], strict=False)):
            yield f"{name} leaves the undisturbed curve"
        elif told.job["status"] == "succeeded" and len(steps) != len(wanted["step"]):
            yield f"{name} lacks its last {len(wanted['step']) - len(steps)} steps"


def _model(told: Told, undisturbed: Told) -> Iterator[str]:
    if told.job["status"] == "failed":
        last = [attempt["reason"] for attempt in told.job["attempts"][-3:]]
        if told.job["error"]["code"] not in LOST or not all(reason in LOST for reason in last) or len(last) < 3:
            yield f"failed without need: {told.job['error']}"
    if told.job["status"] != "succeeded":
        if told.head is not None:
            yield "left a model without having succeeded"
        return
    if told.head is None or undisturbed.head is None:
        yield "succeeded without a model"
    elif any((told.head[name] - undisturbed.head[name]).abs().max() > CLOSE for name in undisturbed.head):
        yield "its head is not the undisturbed one"
    if told.job["best"] != undisturbed.job["best"]:
        yield f"its best is {told.job['best']}, undisturbed {undisturbed.job['best']}"


# --- the house -----------------------------------------------------------------------------------------------------

# What may stand in Redis beside the keys of jobs: Celery's own, and what expires by itself.
COMMON = re.compile(
    r"headway:(jobs:(tenant:local|ended|put_away|turns|held|aside|queued:.*)|feed:local|workers?(:.*)?|reaper|totals"
    r"|checkpoints:stored:local|models:tenant:local|files:(tenant:local|expiring|forgotten|turn:.*|stored:.*)|file:file-\w+"
    r"|(idempotency|submission|unread|rate|stream_token):.*)$"
    r"|headway\.train(\.\w+)?$"
)
OF_JOB = re.compile(r"headway:(?:job|model):(ftjob-\w+)(:events|:series|:checkpoints|:checkpoint:\d+)?$")


def leftovers(house: House) -> list[str]:
    """Nothing, if all jobs have ended and left only what belongs to them."""
    jobs = set(house.redis.zrange("headway:jobs:tenant:local", 0, -1))
    return [*_in_redis(house, jobs), *_in_files(house, jobs)]


def _in_redis(house: House, jobs: set[str]) -> Iterator[str]:
    for key in house.redis.scan_iter(count=1000):
        job = OF_JOB.match(key)
        if job and job[1] not in jobs:
            yield f"{key} belongs to no job"
        if not job and not COMMON.match(key):
            yield f"{key} is of no known kind"
        if key.startswith(("headway:jobs:running", "headway:jobs:queued")):
            yield f"{key} still holds {house.redis.zrange(key, 0, -1)}"
    for job_id in jobs:
        known = {
            int(score) for _, score in house.redis.zrange(f"headway:job:{job_id}:checkpoints", 0, -1, withscores=True)
        }
        kept = {int(key.rsplit(":", 1)[1]) for key in house.redis.scan_iter(f"headway:job:{job_id}:checkpoint:*")}
        if not kept <= known:
            yield f"{job_id}: checkpoints {kept - known} are in no index"


def _in_files(house: House, jobs: set[str]) -> Iterator[str]:
    root: Path = house.settings.files_dir
    for path in root.rglob("*"):
        if path.is_file() and (path.name.startswith(".") or "incoming" in path.parts):
            yield f"{path.relative_to(root)} is a draft"
        named = [part for part in path.parts if is_id(part, "ftjob")]
        if named and named[0] not in jobs:
            yield f"{path.relative_to(root)} belongs to no job"
    for folder in root.glob("*/models/*"):
        status = house.redis.hget(f"headway:job:{folder.name}", "status")
        if len(list(folder.iterdir())) != (status == "succeeded"):
            yield f"{folder.name} is {status} and has models of {sorted(p.name for p in folder.iterdir())}"
    for draft in house.settings.features_dir.rglob("*.draft"):
        yield f"{draft.name} is a draft among the features"
