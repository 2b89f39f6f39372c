"""The trainer that waits for the next job: as clean as a new one, bounded, and never left behind."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.contract.spec import ArchivePaths, TrainerSpec
from services.contract.weights import WeightsFile
from tests.drawing import shapes, zipped
from tests.processes import alive, arguments
from tests.trainers import MEMORY, PREPARED, carried_out, is_idle, new_trainer
from tests.waiting import wait_until
from workers.spare import Spare
from workers.vision.device import candidates
from workers.zygote import Process, Starter


@pytest.fixture
def spare() -> Iterator[Spare]:
    made = Spare(PREPARED, MEMORY, Starter())
    yield made
    made.close()


def lines_of(trainer: Process, spec: TrainerSpec) -> list[Any]:
    return carried_out(trainer, spec)[0]


@pytest.mark.parametrize("forks", [False, True], ids=["new", "forked"])
@pytest.mark.parametrize("device", candidates())
@pytest.mark.slow
def test_a_spare_that_waited_trains_as_a_new_trainer_does(
    archive: Callable[[bytes], ArchivePaths],
    trainer_spec: Callable[..., TrainerSpec],
    device: str,
    forks: bool,
    tmp_path: Path,
) -> None:
    hyperparameters = {"learning_rate": 1e-3, "n_epochs": 20, "batch_size": 4}
    spec = trainer_spec(archive(zipped(shapes(6, first=700))), hyperparameters=hyperparameters, seed=5, device=device)
    prepared = PREPARED.model_copy(update={"device": device})
    with closing(Starter(forks=forks)) as start, closing(Spare(prepared, MEMORY, start)) as spare:
        spare.prepare()
        waiting = spare._waiting
        assert waiting is not None
        wait_until(lambda: is_idle(waiting.pid), seconds=60)
        trainer = spare.take()
        assert trainer is waiting
        told = told_by(trainer, spec, tmp_path / "spare")
    assert told == told_by(new_trainer(), spec, tmp_path / "new")


def told_by(trainer: Process, spec: TrainerSpec, folder: Path) -> tuple[list[float], list[bytes], Any]:
    """Losses, exports and receipt."""
    folder.mkdir()
    lines = lines_of(trainer, spec.model_copy(update={"out": str(folder), "cache": str(folder / "cache")}))
    losses = [pack.train_loss[0] for line in lines if line.type == "metrics" for pack in line.steps]
    exports = [(folder / file).read_bytes() for file in sorted(lines[-1].exports.values())]
    return [*chain(*losses)], exports, lines[-1].receipt


@pytest.mark.nightly
def test_a_spare_whose_weights_cannot_be_had_leaves_it_to_the_job_to_say(
    archive: Callable[[bytes], ArchivePaths], trainer_spec: Callable[..., TrainerSpec], tmp_path: Path
) -> None:
    spare = Spare(PREPARED.model_copy(update={"weights": WeightsFile(tmp_path / "missing.pth")}), MEMORY, Starter())
    spare.prepare()
    spec = trainer_spec(archive(zipped(shapes(4, first=700))), hyperparameters={"n_epochs": 1})
    assert lines_of(spare.take(), spec)[-1].type == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    "at_once",
    [pytest.param(True, id="while it starts", marks=pytest.mark.nightly), pytest.param(False, id="while it waits")],
)
def test_one_that_takes_more_memory_than_it_may_waits_without_torch_and_still_takes_its_job(
    archive: Callable[[bytes], ArchivePaths], trainer_spec: Callable[..., TrainerSpec], at_once: bool
) -> None:
    spare = Spare(PREPARED, memory=1, start=Starter())
    spare.prepare()
    waiting = spare._waiting
    assert waiting is not None
    if not at_once:
        wait_until(lambda: "--lean" in arguments(waiting.pid), seconds=60)
        assert psutil.Process(waiting.pid).memory_info().rss < 100e6
    trainer = spare.take()
    assert trainer is waiting
    spec = trainer_spec(archive(zipped(shapes(4, first=700))), hyperparameters={"n_epochs": 1})
    assert lines_of(trainer, spec)[-1].type == "done"


def test_without_memory_there_is_no_spare() -> None:
    spare = Spare(PREPARED, memory=0, start=Starter())
    spare.prepare()
    assert spare._waiting is None


def test_a_spare_ends_with_its_worker_however_that_ends() -> None:
    code = (
        "import sys; from workers.spare import Spare; from workers.zygote import Starter\n"
        "from services.contract.spec import Prepared\n"
        f"spare = Spare(Prepared.model_validate_json({PREPARED.model_dump_json()!r}), {MEMORY}, Starter())\n"
        "spare.prepare(); print(spare._waiting.pid, flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    worker.kill()
    worker.communicate()
    wait_until(lambda: not alive(pid), seconds=120)  # it looks once it has torch
