"""The autoscaler among real containers: up from zero, down by drain, killed in the middle."""

import time
from typing import Any

import pytest

from tests.chaos.conftest import Submit
from tests.containers.project import WITHIN, Project, cooldown
from tests.drawing import shapes
from tests.jobs import Upload, ended, look, submitted
from tests.waiting import wait_until


def set_scaling(project: Project, autoscale: str, seconds: float = 3600) -> None:
    """As an operator changes it: by the environment, and `docker compose up`."""
    settings = {"HEADWAY_AUTOSCALE": autoscale, **cooldown(seconds)}
    project.compose("up", "--detach", "--no-deps", "autoscaler", settings=settings)


def scale(project: Project, workers: int) -> None:
    project.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", f"worker={workers}", "worker")
    wait_until(lambda: len(project.ready_workers()) == len(project.workers()) == workers, seconds=WITHIN)


def numbers(project: Project, *, all: bool) -> list[int]:
    """The worker containers, as `docker compose ps` knows them."""
    found = [c.labels["com.docker.compose.container-number"] for c in project.containers("worker", all=all)]
    return sorted(map(int, found))


def test_from_zero_to_three_workers_and_back(project: Project, upload: Upload) -> None:
    scale(project, 1)  # compose's own: stopped, it is what copies are made of
    set_scaling(project, "cpu=0-3", 4)
    wait_until(lambda: len(numbers(project, all=True)) == 1 and numbers(project, all=False) == [], seconds=60)
    own = numbers(project, all=True)
    assert project.workers() == []

    asked = time.time()
    jobs = [submitted(project.client, upload, shapes(4), n_epochs=30_000, batch_size=2, seed=seed) for seed in range(3)]
    wait_until(lambda: len(numbers(project, all=False)) == 3, seconds=30)
    decisions = wait_until(lambda: starts(project, asked, workers=3))
    assert all(decision["reason"].endswith(f"start {decision['start']}") for decision in decisions)
    assert min(decision["at"] for decision in decisions) - asked < 5
    listed = project.compose("ps", "--quiet", "worker").split()
    assert {c.id for c in project.containers("worker")} == set(listed)

    found = [ended(project.client, job, seconds=300) for job in jobs]
    assert [job["status"] for job in found] == ["succeeded"] * 3
    assert [[attempt["reason"] for attempt in job["attempts"]] for job in found] == [["succeeded"]] * 3
    assert len({job["attempts"][0]["worker"] for job in found}) == 3
    wait_until(lambda: numbers(project, all=True) == own and numbers(project, all=False) == [], seconds=60)


@pytest.mark.nightly
def test_scale_of_compose_adds_workers_of_its_own(project: Project) -> None:
    scale(project, 3)
    scale(project, 1)


@pytest.mark.nightly
def test_an_autoscaler_that_is_killed_in_the_middle_of_a_drain_leaves_it_to_the_next(
    project: Project, submit: Submit
) -> None:
    project.compose("stop", "autoscaler")
    scale(project, 1)  # an idle one beside it would take the job, and be drained too
    job = submit(n_epochs=100_000)  # longer than compose takes to start an autoscaler
    worker, lowered = project.worker_of(job), time.time()
    set_scaling(project, "cpu=0-0")
    decision = wait_until(lambda: drains(project, worker.short_id, lowered))
    assert "above the maximum of 0" in decision["reason"]
    project.one("autoscaler").kill()
    wait_until(lambda: look(project.client, job)["status"] == "queued", seconds=30)
    wait_until(lambda: worker.short_id not in {found["host"] for found in project.workers()})
    set_scaling(project, "cpu=0-3")
    attempts = ended(project.client, job, seconds=300)["attempts"]
    assert [attempt["reason"] for attempt in attempts] == ["released", "succeeded"], project.autoscaler()["decisions"]


def starts(project: Project, since: float, *, workers: int) -> list[dict[str, Any]] | None:
    """The decisions that started so many, once they have."""
    decisions = project.autoscaler()["decisions"]
    found = [decision for decision in decisions if decision["at"] >= since and decision["start"]]
    return found if sum(decision["start"] for decision in found) == workers else None


def drains(project: Project, id: str, since: float) -> dict[str, Any] | None:
    decisions = project.autoscaler()["decisions"]
    return next((decision for decision in decisions if id in decision["drain"] and decision["at"] > since), None)


@pytest.fixture(autouse=True)
def _settings_as_before(project: Project) -> Any:
    yield
    set_scaling(project, "cpu=0-3")
