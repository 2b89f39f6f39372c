"""What the trainer's tests share: features of real digits, made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from services.contract.spec import ArchivePaths, TrainerSpec
from tests.extracting import extract
from workers.trainer.table import Table
from workers.vision import dataset
from workers.vision.backbone import Backbone

DIGITS = Path(__file__).parents[3] / "services" / "client" / "sample" / "digits.zip"


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
