"""The feature cache: by content, whole or not at all, shared by readers and writers, and no larger than it may be."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from services.contract.spec import TrainerSpec
from services.contract.timing import UNSCALED
from tests.drawing import shapes, zipped
from tests.trainers import PREPARED
from workers.vision.segments import FeatureCache, Said, cache_folder, trim


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def opened(folder: Path, numbers: Iterable[int] = range(10)) -> FeatureCache:
    """Row i is that of the key i, for the keys that are asked for."""
    return FeatureCache(folder, {key(number): [place] for place, number in enumerate(numbers)}, UNSCALED)


def filled(folder: Path, count: int = 3, first: int = 0) -> torch.Tensor:
    rows = torch.randn(count, 512)
    cache = opened(folder, range(first, first + count))
    cache.add([key(first + i) for i in range(count)], rows, {}, seconds=0.5 * count)
    cache.flush()
    return rows


def has(folder: Path, number: int) -> bool:
    return bool(opened(folder, [number]).there.all())


def test_rows_come_back_to_the_bit_wherever_they_are_wanted(tmp_path: Path) -> None:
    rows = torch.cat([filled(tmp_path), filled(tmp_path, first=3)])
    found = FeatureCache(tmp_path, {key(2): [0, 4], key(4): [1], key(0): [2], key(9): [3]}, UNSCALED)
    assert torch.equal(found.rows, torch.stack([rows[2], rows[4], rows[0], torch.zeros(512), rows[2]]))
    assert found.there.tolist() == found.readable.tolist() == [True, True, True, False, True]
    assert found.seconds.tolist() == [0.5, 0.5, 0.5, 0.0, 0.5]


def test_a_tombstone_is_known_and_unreadable(tmp_path: Path) -> None:
    cache = opened(tmp_path, [1])
    cache.add([key(1)], torch.zeros(1, 512), {key(1): Said(unreadable="a web page")}, seconds=0.1)
    cache.flush()
    for found in (cache, opened(tmp_path, [1])):
        assert (found.there.tolist(), found.readable.tolist()) == ([True], [False])
        assert found.said == {key(1): Said(unreadable="a web page")}


def test_many_segments_hold_no_file_open(tmp_path: Path) -> None:
    for number in range(5):
        filled(tmp_path, first=3 * number)
    process = psutil.Process()
    before = process.num_fds()
    cache = opened(tmp_path, range(15))
    assert cache.there.all()
    assert process.num_fds() == before


@pytest.mark.parametrize("harm", ["cut", "flip", "key", "empty", "foreign"])
def test_a_damaged_segment_is_found_dropped_and_made_again(tmp_path: Path, harm: str) -> None:
    filled(tmp_path)
    (segment,) = tmp_path.glob("*.features")
    content = bytearray(segment.read_bytes())
    content[-1 if harm == "flip" else 24 + 31] ^= 1  # a byte of a row, or of the first key
    segment.write_bytes(
        {"cut": bytes(content[:-100]), "empty": b"", "foreign": b"HEADWAY1" + bytes(content[8:])}.get(
            harm, bytes(content)
        )
    )
    assert not opened(tmp_path).there.any()
    assert not list(tmp_path.glob("*.features"))
    filled(tmp_path)
    assert has(tmp_path, 0)


def test_a_segment_of_which_nothing_is_wanted_is_neither_read_nor_kept_young(tmp_path: Path) -> None:
    filled(tmp_path)
    (segment,) = tmp_path.glob("*.features")
    os.utime(segment, (1.0, 1.0))
    assert not has(tmp_path, 7)
    assert segment.stat().st_mtime == 1.0
    assert has(tmp_path, 0)
    assert segment.stat().st_mtime > 1.0


def test_two_writers_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    caches = [opened(tmp_path, [0]), opened(tmp_path, [1])]
    for number, cache in enumerate(caches):
        cache.add([key(number)], torch.full((1, 512), float(number)), {}, seconds=0.1)
        cache.flush()
    assert opened(tmp_path, [0, 1]).rows[:, 0].tolist() == [0.0, 1.0]


def test_another_tenant_other_weights_another_precision_engine_or_kind_of_device_have_another_folder(
    tmp_path: Path,
) -> None:
    folders = {
        cache_folder(tmp_path, tenant, weights, PREPARED.model_copy(update=changes))
        for tenant in "ab"
        for weights in "cd"
        for changes in ({}, {"precision": "bf16"}, {"engine": "openvino"}, {"device": "cuda:0"})
    }
    assert len(folders) == 16
    assert cache_folder(tmp_path, "a", "c", PREPARED) in folders


def test_the_least_recently_used_segments_of_the_tenant_go_first(tmp_path: Path) -> None:
    for age, name in enumerate(("old", "used", "new")):
        filled(tmp_path / "ann" / name, first=age)
        (segment,) = (tmp_path / "ann" / name).glob("*.features")
        os.utime(segment, (1000.0 + age, 1000.0 + age))
    filled(tmp_path / "bob" / "old")
    assert has(tmp_path / "ann" / "used", 1)  # which makes it young
    trim(tmp_path / "ann", 2 * segment.stat().st_size, UNSCALED)
    assert sorted(path.parent.name for path in (tmp_path / "ann").glob("*/*.features")) == ["new", "used"]
    trim(tmp_path / "ann", 0, UNSCALED)
    assert not list((tmp_path / "ann").glob("*/*.features"))
    assert list((tmp_path / "bob").glob("*/*.features"))


def test_a_job_keeps_the_cache_within_its_size(
    archive: Callable[..., object], trainer_spec: Callable[..., TrainerSpec], run_trainer: Callable[..., list[Any]]
) -> None:
    spec = trainer_spec(archive(zipped(shapes(4, first=900))), tenant="small", cache_bytes=0)
    assert run_trainer(spec)[-1].type == "done"
    assert not list(Path(spec.cache).glob("small/*/*.features"))


def test_rows_are_at_hand_where_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache, rows = opened(tmp_path / "file" / "space", [0, 1]), torch.randn(2, 512)
    for number in range(2):
        cache.add([key(number)], rows[number : number + 1], {}, seconds=0.1)
        with pytest.raises(OSError, match="Not a directory"):
            cache.flush()
    assert torch.equal(cache.rows, rows)
    assert cache.there.all()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_a_warning_and_not_the_job(
    archive: Callable[..., object],
    trainer_spec: Callable[..., TrainerSpec],
    run_trainer: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    training = archive(zipped(shapes(12, first=950)))
    lines = run_trainer(trainer_spec(training, cache=str(tmp_path / "cache"), feature_scaling="standard"))
    whole = run_trainer(trainer_spec(training, feature_scaling="standard"))
    assert lines[-1].type == "done"
    ends = [next(line.evaluation for line in of if line.type == "evaluation") for of in (lines, whole)]
    assert ends[0] == ends[1]
    assert ["feature cache could not be written" in line.message for line in lines if line.type == "warning"] == [True]
