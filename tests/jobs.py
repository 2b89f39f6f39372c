"""Jobs as the tests submit and watch them, over HTTP."""

import contextlib
from collections.abc import Callable
from typing import Any

import httpx

from tests.drawing import shapes, zipped
from tests.waiting import wait_until

Upload = Callable[..., httpx.Response]
JOBS = "/v1/fine_tuning/jobs"
# A job that something can happen to in its middle, on a curve that a resume must meet.
ASKED: dict[str, Any] = {"n_epochs": 4000, "batch_size": 4, "learning_rate": 1e-3}
CLOSE = 1e-6


def look(client: httpx.Client, job: str) -> dict[str, Any]:
    return dict(client.get(f"{JOBS}/{job}").json())


def look_if_up(client: httpx.Client, job: str) -> dict[str, Any]:
    """The job as the API tells it now; nothing while it cannot."""
    with contextlib.suppress(httpx.TransportError):
        answer = client.get(f"{JOBS}/{job}")
        if answer.status_code == 200:
            return dict(answer.json())
    return {"status": None}


def ended(client: httpx.Client, job: str, *, seconds: float = 120) -> dict[str, Any]:
    def an_end() -> dict[str, Any] | None:
        found = look(client, job)
        return found if found["status"] in ("succeeded", "failed", "cancelled") else None

    return wait_until(an_end, seconds=seconds)


def submitted(client: httpx.Client, upload: Upload, files: dict[str, bytes], **body: Any) -> str:
    file = upload(client, zipped(files)).json()["id"]
    answer = client.post(JOBS, json={"training_file": file} | body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def running_long(client: httpx.Client, upload: Upload, **body: Any) -> str:
    """A job that will not end by itself, once it has taken steps."""
    job = submitted(client, upload, shapes(6), n_epochs=100_000, batch_size=2, learning_rate=1e-3, **body)
    wait_until(lambda: look(client, job)["progress"]["step"] > 0, seconds=60)
    return job


def train_loss(client: httpx.Client, job: str) -> dict[str, Any]:
    return dict(client.get(f"{JOBS}/{job}/metrics").json()["series"]["train_loss"])


def final_events(client: httpx.Client, job: str) -> list[str]:
    """Messages of the events that say an end."""
    events = client.get(f"{JOBS}/{job}/events", params={"limit": 100}).json()["data"]
    ends = ("succeeded", "failed", "cancelled")
    return [event["message"] for event in events if (event["data"] or {}).get("status") in ends]


def curve(client: httpx.Client, job: str) -> dict[int, float]:
    """Its training loss by step."""
    told = train_loss(client, job)
    return dict(zip(told["step"], told["value"], strict=True))
