"""A house for the failure tests, healed before each; and what their jobs do when nothing happens to them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.house import House
from tests.chaos.verdict import Told, faults_of, leftovers
from tests.drawing import shapes
from tests.jobs import Upload, submitted
from tests.waiting import wait_until

# The settings are those where the reference loop is stable (design §7): a curve that leaves the undisturbed one was
# disturbed. Three steps an epoch, so that a job waits at the gate in its middle.
ASKED: dict[str, Any] = {"n_epochs": 120, "batch_size": 4, "learning_rate": 1e-3}
Submit = Callable[..., str]
Holds = Callable[[str], Told]


@pytest.fixture(scope="package")
def built(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House.built(features_dir, tmp_path_factory.mktemp("logs")) as house:
        yield house


@pytest.fixture(scope="package")
def undisturbed(built: House, upload: Upload) -> Told:
    """What the failure tests' job does when it is left alone."""
    job = submitted(built.client, upload, shapes(6), **ASKED)
    wait_until(lambda: built.look(job)["status"] == "succeeded", seconds=120)
    return Told.of(built.client, job)


@pytest.fixture
def house(built: House, undisturbed: Told) -> Iterator[House]:
    """All of it well; and after the test no trainer, no draft, no key that is not some ended job's own."""
    built.heal()
    yield built
    built.heal()
    wait_until(lambda: not built.trainers())
    assert leftovers(built) == []


@pytest.fixture
def submit(house: House, upload: Upload) -> Submit:
    """A job on its way, held at the gate: once it has taken `steps`."""

    def submit(*, steps: int = 200, **changes: Any) -> str:
        house.gate.close()
        job = submitted(house.client, upload, shapes(6), **(ASKED | changes))
        wait_until(lambda: steps == 0 or house.look(job)["progress"]["step"] > steps, seconds=60)
        return job

    return submit


@pytest.fixture
def holds(house: House, undisturbed: Told) -> Holds:
    """Opens the gate, waits for a job's end; asserts that it ended once, on its curve, under one owner at a time."""

    def holds(job: str) -> Told:
        house.gate.open()
        wait_until(lambda: house.look(job)["status"] in ("succeeded", "failed", "cancelled"), seconds=150)
        told = Told.of(house.client, job)
        assert faults_of(told, undisturbed) == []
        return told

    return holds
