"""What the trainer's tests share: features of real digits, made once a session."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.contract.events import LINE, Line
from services.contract.spec import ArchivePaths, TrainerSpec
from tests.trainers import PREPARED, indexed, spec_of
from workers.trainer import dataset
from workers.trainer.backbone import Backbone
from workers.trainer.device import candidates
from workers.trainer.evaluate import Table
from workers.trainer.pipeline import extract

DIGITS = Path(__file__).parents[2] / "services" / "client" / "sample" / "digits.zip"


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], ArchivePaths]:
    """An archive with its index, as the API leaves them."""

    def archive(content: bytes) -> ArchivePaths:
        return indexed(content, tmp_path_factory.mktemp("archive"))

    return archive


@pytest.fixture
def trainer_spec(features_dir: Path, tmp_path: Path) -> Callable[..., TrainerSpec]:
    def trainer_spec(training: ArchivePaths, **changes: Any) -> TrainerSpec:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        return spec_of(training, **{"cache": str(features_dir), "out": str(out)} | changes)

    return trainer_spec


@pytest.fixture(scope="session")
def random_backbone() -> Backbone:
    return Backbone(PREPARED)


@pytest.fixture(scope="session", params=candidates())
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """On each device that this machine has."""
    return Backbone(PREPARED.model_copy(update={"device": request.param}))


@pytest.fixture(scope="session")
def digits(archive: Callable[[bytes], ArchivePaths], random_backbone: Backbone) -> Table:
    """The features of 100 digits on a random backbone, in path order."""
    paths = archive(DIGITS.read_bytes())
    spec = TrainerSpec(
        job="", tenant="local", training=paths, labels=[str(d) for d in range(10)], num_labels=10, cache="", out=""
    )
    examples = dataset.load(spec.model_copy(update={"split": 0.0})).train[::4]
    rows = torch.cat([batch.rows for batch in extract(examples, random_backbone)])
    labels = torch.tensor([example.label for example in examples])
    return Table(rows, labels, torch.ones(len(labels), dtype=torch.bool))


@pytest.fixture
def run_trainer() -> Callable[[TrainerSpec], list[Line]]:
    """A whole trainer process: what it said."""

    def run(spec: TrainerSpec) -> list[Line]:
        done = subprocess.run(
            [sys.executable, "-m", "workers.trainer"],
            input=spec.model_dump_json() + "\n",
            stdout=subprocess.PIPE,
            text=True,
            timeout=240,
            check=False,
        )
        lines = [LINE.validate_json(line) for line in done.stdout.splitlines()]
        assert done.returncode == (1 if lines[-1].type == "failed" else 0)
        return lines

    return run
