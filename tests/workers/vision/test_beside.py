"""Features of a file in a bucket are computed once, for all machines."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from services import objects
from services.contract.errors import FilesAway
from services.contract.spec import ArchivePaths, TrainerSpec
from tests.buckets import Bucket, bucket
from tests.drawing import png, shape, shapes, zipped
from workers.vision import beside, dataset
from workers.vision.backbone import Backbone
from workers.vision.rows import Rows


@pytest.fixture
def s3() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture
def rows(
    s3: Bucket, archive: Callable[[bytes], ArchivePaths], random_backbone: Backbone, tmp_path: Path
) -> Callable[..., Rows]:
    """Of a file in the bucket, on the machine of this name."""
    local = archive(zipped(shapes(10, first=400) | {"circle/torn.png": png(shape("circle", 1))[:99]}))
    paths = {name: f"{s3.url}/local/files/{name}" for name in ("data", "index")}
    for name, where in local.model_dump().items():
        objects.write_all(paths[name], Path(where))

    def rows(machine: str, cache_failed: Callable[[OSError], None] = _raise) -> Rows:
        asked: dict[str, Any] = {"job": "", "tenant": "local", "labels": ["circle", "square"], "num_labels": 2}
        spec = TrainerSpec(training=ArchivePaths(**paths), split=0.0, cache=str(tmp_path / machine), out="", **asked)
        found = dataset.load(spec).train
        return Rows(found, range(len(found)), random_backbone, spec, cache_failed)

    return rows


def _raise(error: OSError) -> None:
    raise error


def computed(rows: Rows) -> torch.Tensor:
    while not rows.is_complete:
        rows.compute_next()
    rows.close()
    return rows.features


def test_another_machine_finds_what_one_has_computed(
    rows: Callable[..., Rows], s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "PIECE", 8)
    first = rows("one")
    assert first.missing == 21
    features = computed(first)
    assert len([key for key in s3.keys if key.startswith("local/files/data.") and key.endswith(".features")]) == 3
    other = rows("other")
    assert other.missing == 0
    assert torch.equal(other.features, features)
    assert len(other.known_unreadable()) == 1
    assert rows("other").missing == 0  # and keeps it
    objects.delete([f"{s3.url}/{key}" for key in s3.keys if key.endswith(".1.features")])
    rows("other").close()  # an attempt that was stopped has not kept them
    assert rows("third").missing == 0


@pytest.mark.slow
def test_a_piece_that_is_torn_or_missing_is_computed_again(
    rows: Callable[..., Rows], s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "PIECE", 8)
    features = computed(rows("one"))
    first, second, _ = sorted(key for key in s3.keys if key.endswith(".features"))
    objects.write_all(f"{s3.url}/{first}", objects.read_all(f"{s3.url}/{first}")[:-3] + b"???")
    objects.delete([f"{s3.url}/{second}"])
    other = rows("other")
    assert other.missing == 21
    other.close(here_only=True)
    assert torch.equal(computed(rows("other")), features)
    assert rows("third").missing == 0


@pytest.mark.slow
def test_a_bucket_that_is_away_costs_the_pass_only(rows: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(url: str) -> bytes:
        raise FilesAway(5, "away", url)

    features = computed(rows("one"))
    told: list[OSError] = []
    monkeypatch.setattr(beside, "read_all", no_answer)
    other = rows("other", told.append)
    assert (other.missing, len(told)) == (21, 1)
    assert torch.equal(computed(other), features)
