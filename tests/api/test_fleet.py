"""The fleet as clients and Prometheus see it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.contract.fleet import AutoscalerReport, Decision, Pool
from services.settings import Settings
from services.store import keys
from services.store.autoscaling import KEPT
from services.store.store import Store, open_store
from services.store.workers import Drain
from tests.conftest import profile
from tests.jobs import JOBS
from tests.reports import worker

Submit = Callable[..., httpx.Response]
OnStore = Callable[[Callable[[Store], Awaitable[Any]]], Any]


@pytest.fixture
def on_store(settings: Settings) -> OnStore:
    """Runs something on the store that the API serves."""

    def run(work: Callable[[Store], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            async with open_store(settings) as store:
                return await work(store)

        return asyncio.run(within())

    return run


def decision(reason: str, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "kind": "cpu",
        "at": time.time(),
        "queued": 1,
        "idle": 0,
        "busy": 2,
        "starting": 0,
        "draining": 0,
        "failing": 1,
        "failed_starts": 2,
        "needed": 3,
        "target": 3,
        "reason": reason,
    }
    return Decision.model_validate(fields | changes)


def telling(*acted: Decision) -> Callable[[Store], Awaitable[Any]]:
    pools, now = [Pool(kind="cpu", min=0, max=4)], [decision("enough")]
    state = AutoscalerReport(id="a", provider="process", seen_at=1.0, pools=pools, now=now)
    return lambda store: store.autoscaling.tell(state, acted)


def measured(api: httpx.Client) -> dict[tuple[str, ...], float]:
    """Each sample of /metrics, by its name and its labels' values."""
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_where_no_autoscaler_runs_it_says_so(api: httpx.Client) -> None:
    told = api.get("/v1/autoscaler").json()
    assert (told["alive"], told["pools"], told["decisions"]) == (False, [], [])
    assert measured(api)[("headway_autoscaler_up",)] == 0


def test_the_autoscalers_decisions_are_told_newest_first_with_inputs_and_reason(
    api: httpx.Client, on_store: OnStore
) -> None:
    assert on_store(lambda store: store.turns.take(keys.AUTOSCALER, "a", seconds=10))
    on_store(telling(*(decision(f"number {number}", start=1) for number in range(KEPT + 5))))
    on_store(telling(decision("down", drain=["x", "y"])))
    told = api.get("/v1/autoscaler").json()
    assert told["alive"] is True
    assert len(told["decisions"]) == KEPT
    assert [d["reason"] for d in told["decisions"][:2]] == ["down", f"number {KEPT + 4}"]
    assert told["decisions"][0]["drain"] == ["x", "y"] and told["decisions"][1]["queued"] == 1
    seen = measured(api)
    assert seen[("headway_workers_started_total", "cpu")] == KEPT + 5
    assert seen[("headway_workers_drained_total", "cpu")] == 2
    assert seen[("headway_workers_needed", "cpu")] == 3
    assert seen[("headway_worker_starts_failed", "cpu")] == 2
    assert seen[("headway_autoscaler_up",)] == 1


def test_metrics_count_what_happens_to_jobs(api: httpx.Client, on_store: OnStore, submit: Submit) -> None:
    lost, cancelled = (submit().json()["id"] for _ in range(2))
    api.post(f"/v1/fine_tuning/jobs/{cancelled}/cancel")
    claim = on_store(lambda store: store.leases.claim(lost, profile()))
    on_store(lambda store: store.workers.report(worker("w")))
    seen = measured(api)
    assert seen[("headway_jobs_submitted_total",)] == 2
    assert seen[("headway_jobs_queued", "any")] == 0
    assert seen[("headway_jobs_running",)] == 1
    assert seen[("headway_jobs_ended_total", "cancelled")] == 1
    assert seen[("headway_queue_wait_seconds_count",)] == 1
    waiting = {"any": 0, "cuda": 0, "mps": 0, "cpu": 0}
    assert api.get("/v1/queue").json() == {"object": "queue", "queued": waiting, "running": 1}
    assert seen[("headway_workers", "cpu", "idle")] == 1
    on_store(lambda store: store.leases.release(claim, "worker_lost", "gone", counts=True))
    seen = measured(api)
    assert seen[("headway_attempts_lost_total",)] == 1
    assert seen[("headway_jobs_queued", "cpu")] == 1
    assert seen[("headway_redis_memory_bytes",)] > 0


def test_a_worker_can_be_asked_to_leave_now_or_after_its_job(api: httpx.Client, on_store: OnStore) -> None:
    def wish() -> Any:
        return on_store(lambda store: store.workers.report(worker("w")))

    assert wish() is Drain.NO
    assert api.post("/v1/workers/w/drain", params={"after_job": True}).status_code == 200
    assert wish() is Drain.AFTER_JOB
    assert api.post("/v1/workers/w/drain").status_code == 200
    assert wish() is Drain.NOW


def test_a_job_says_that_no_living_worker_can_take_it(api: httpx.Client, submit: Submit, on_store: OnStore) -> None:
    def said(id: str) -> str:
        (listed,) = [job for job in api.get(JOBS).json()["data"] if job["id"] == id]
        looked = api.get(f"{JOBS}/{id}").json()
        assert listed["status_reason"] == looked["status_reason"]
        return str(looked["status_reason"]["message"])

    anywhere, on_cuda = submit().json()["id"], submit(device="cuda").json()["id"]
    assert "No worker is running" in said(anywhere)
    on_store(lambda store: store.workers.report(worker("w")))
    assert said(anywhere) == "Waiting for a worker."
    assert said(on_cuda) == "No worker has cuda: there is cpu."
    on_store(lambda store: store.workers.remove("w"))
    assert "No worker is running" in said(on_cuda)
