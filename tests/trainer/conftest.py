"""What the trainer's tests share: features of real digits, made once a session."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.contract.dataset import write_index
from services.contract.events import LINE, Line
from services.contract.spec import ArchivePaths, TrainerSpec
from services.store.archives import list_archive
from workers.trainer import backbone, dataset, features
from workers.trainer.evaluate import Table

DIGITS = Path(__file__).parents[2] / "services" / "client" / "sample" / "digits.zip"


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], ArchivePaths]:
    """An archive with its index, as the API leaves them."""

    def archive(content: bytes) -> ArchivePaths:
        folder = tmp_path_factory.mktemp("archive")
        (folder / "data").write_bytes(content)
        listing = list_archive(folder / "data")
        write_index(listing.images, folder / "index")
        return ArchivePaths(data=str(listing.data), index=str(folder / "index"))

    return archive


@pytest.fixture
def trainer_spec(features_dir: Path, tmp_path: Path) -> Callable[..., TrainerSpec]:
    def trainer_spec(training: ArchivePaths, **changes: Any) -> TrainerSpec:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        fields: dict[str, Any] = {
            "job": "ftjob-test",
            "tenant": "local",
            "training": training,
            "labels": ["circle", "square"],
            "num_labels": 2,
            "weights": "random:0",
            "cache": str(features_dir),
            "out": str(out),
        }
        return TrainerSpec.model_validate(fields | changes)

    return trainer_spec


@pytest.fixture(scope="session")
def random_backbone() -> torch.nn.Module:
    return backbone.load("random:0")


@pytest.fixture(scope="session")
def digits(archive: Callable[[bytes], ArchivePaths], features_dir: Path, random_backbone: torch.nn.Module) -> Table:
    """The features of 100 digits on a random backbone, in path order."""
    paths = archive(DIGITS.read_bytes())
    spec = TrainerSpec(
        job="", tenant="local", training=paths, labels=[str(d) for d in range(10)], num_labels=10, cache="", out=""
    )
    examples = dataset.load(spec.model_copy(update={"split": 0.0})).train[::4]
    sha256 = backbone.weights_sha256(random_backbone)
    cache = features.FeatureCache(features.cache_folder(features_dir, "local", sha256, "fp32"))
    features.extract(examples, random_backbone, torch.device("cpu"), cache, each=lambda batch: None)
    keys = [example.key for example in examples]
    labels = torch.tensor([example.label for example in examples])
    return Table(cache.gather(keys), labels, torch.ones(len(keys), dtype=torch.bool))


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
