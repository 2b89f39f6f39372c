"""A compose project, healed before each test; and what its jobs do when nothing happens to them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.conftest import Holds, Submit
from tests.chaos.verdict import ENDS, Told, faults_of
from tests.containers.project import Project
from tests.drawing import shapes
from tests.jobs import Upload, ended, look, look_if_up, submitted
from tests.waiting import wait_until

# Seconds of steps on a fast machine too, so that whatever is done to a job is done in the middle of it.
ASKED: dict[str, Any] = {"n_epochs": 25_000, "batch_size": 4, "learning_rate": 1e-3}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/containers" in item.nodeid:
            item.add_marker(pytest.mark.containers)
            item.add_marker(pytest.mark.timeout(600))  # the images are built in the first


@pytest.fixture(scope="session")
def built() -> Iterator[Project]:
    with Project.up("headway-test") as project:
        yield project


@pytest.fixture
def project(built: Project) -> Project:
    built.heal()
    return built


@pytest.fixture(scope="session")
def undisturbed(built: Project, upload: Upload) -> Told:
    """What the failure tests' job does when it is left alone."""
    built.heal()
    job = submitted(built.client, upload, shapes(6), **ASKED)
    assert ended(built.client, job)["status"] == "succeeded"
    return Told.of(built.client, job)


@pytest.fixture
def submit(project: Project, undisturbed: Told, upload: Upload) -> Submit:
    """A job on its way: once it has taken `steps`."""

    def submit(*, steps: int = 200, **changes: object) -> str:
        job = submitted(project.client, upload, shapes(6), **(ASKED | changes))
        wait_until(lambda: steps == 0 or look(project.client, job)["progress"]["step"] > steps, seconds=120)
        return job

    return submit


@pytest.fixture
def holds(project: Project, undisturbed: Told) -> Holds:
    """Waits for a job's end; asserts that it ended once, on its curve, under one owner at a time."""

    def holds(job: str) -> Told:
        wait_until(lambda: look_if_up(project.client, job)["status"] in ENDS, seconds=240)
        told = Told.of(project.client, job)
        assert faults_of(told, undisturbed) == []
        return told

    return holds
