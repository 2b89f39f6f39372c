"""The owner's pass: the earliest free shard, never a wait, and whatever helpers bring."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from services.contract.lines import LINE
from services.contract.shards import FEWEST, MOST_SHARDS, SHARD, SharedNews, shard_size
from workers.vision.segments import Key, Segment, packed
from workers.vision.shards import Pass

COUNT = 6 * SHARD + 3


class Known:
    """Helpers as the tests have them."""

    def __init__(self) -> None:
        self.begun: list[Key] = []
        self.taken: list[int] = []
        self.told: deque[SharedNews] = deque()

    def begin(self, keys: Sequence[Key], size: int) -> None:
        self.begun, self.size = list(keys), size

    def take(self, shard: int) -> None:
        self.taken.append(shard)

    def news(self) -> SharedNews | None:
        return self.told.popleft() if self.told else None


def keys(count: int) -> list[Key]:
    return [number.to_bytes(32, "big") for number in range(count)]


def heard(of: Pass, helpers: Known, *, leased: Sequence[int] = (), brought: Sequence[Path] = ()) -> list[list[Key]]:
    """What comes of news."""
    helpers.told.append(SharedNews(leased=list(leased), brought=[str(path) for path in brought]))
    return [batch.keys for batch in of.brought()]


def segment(folder: Path, own: list[Key]) -> Path:
    path = folder / "segment"
    rows = np.ones((len(own), 512), np.float32)
    path.write_bytes(packed(Segment(own, rows, np.ones(len(own), np.bool), 0.5)))
    return path


def test_alone_every_image_comes_once_in_its_order() -> None:
    batches = list(Pass(keys(COUNT), 32, lambda key: False, None).batches())
    assert [key for batch in batches for key in batch] == keys(COUNT)
    assert max(map(len, batches)) == 32


def test_shards_that_helpers_compute_come_last_and_those_that_are_there_never() -> None:
    there: set[Key] = set()
    helpers = Known()
    of = Pass(keys(COUNT), SHARD, there.__contains__, helpers)
    assert (helpers.begun, helpers.size) == (keys(COUNT), SHARD)
    assert heard(of, helpers, leased=[0, 1]) == []
    there |= set(keys(COUNT)[3 * SHARD : 4 * SHARD])
    list(of.batches())
    assert helpers.taken == [2, 4, 5, 6, 1, 0]


def test_a_lease_that_ended_is_free_again() -> None:
    helpers = Known()
    of = Pass(keys(COUNT), SHARD, lambda key: False, helpers)
    heard(of, helpers, leased=[0])
    batches = of.batches()
    next(batches)
    heard(of, helpers, leased=[])
    next(batches)
    assert helpers.taken == [1, 0]


def test_what_is_brought_is_as_what_the_pipeline_gives(tmp_path: Path) -> None:
    helpers = Known()
    of = Pass(keys(COUNT), 32, lambda key: False, helpers)
    own = keys(COUNT)[:SHARD]
    helpers.told.append(SharedNews(leased=[], brought=[str(segment(tmp_path, own))]))
    (batch,) = of.brought()
    assert (batch.keys, tuple(batch.rows.shape)) == (own, (SHARD, 512))
    assert batch.seconds == pytest.approx(0.5 * SHARD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["torn", "missing"])
def test_what_is_torn_or_missing_was_not_brought(how: str, tmp_path: Path) -> None:
    helpers = Known()
    of = Pass(keys(COUNT), 32, lambda key: False, helpers)
    path = segment(tmp_path, keys(3))
    if how == "torn":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    assert heard(of, helpers, brought=[path]) == []


def test_few_images_are_not_worth_sharing() -> None:
    helpers = Known()
    few = (FEWEST - 1) * SHARD
    list(Pass(keys(few), 32, lambda key: False, helpers).batches())
    assert (helpers.begun, helpers.taken) == ([], [])


def test_a_plan_is_bounded_whatever_the_images() -> None:
    assert shard_size(1, 32) == shard_size(MOST_SHARDS * SHARD, 32) == SHARD
    assert -(-10_000_000 // shard_size(10_000_000, 32)) <= MOST_SHARDS


@pytest.mark.parametrize("batch", [32, 64, 256])
def test_a_shard_is_whole_batches_of_its_device(batch: int) -> None:
    for images in (100, 5_000, 3_000_000):
        assert shard_size(images, batch) % batch == 0
    batches = list(Pass(keys(COUNT), batch, lambda key: False, None).batches())
    assert [len(each) for each in batches[:-1]] == [batch] * (len(batches) - 1)


@pytest.mark.parametrize(
    "line",
    [
        {"type": "plan", "path": "plan", "shards": 10**9, "size": 64},
        {"type": "plan", "path": "plan", "shards": 5, "size": 0},
        {"type": "taken", "shard": -1},
        {"type": "segment", "shard": 1, "path": "x", "seconds": "inf"},
    ],
)
def test_what_no_trainer_would_say_is_not_believed(line: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LINE.validate_python(line)
