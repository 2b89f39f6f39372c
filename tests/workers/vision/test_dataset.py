from collections import Counter
from collections.abc import Callable

import pytest

from services.contract.spec import ArchivePaths, TrainerSpec
from tests.drawing import shapes, zipped
from workers.vision import dataset

Archive = Callable[[bytes], ArchivePaths]
MakeSpec = Callable[..., TrainerSpec]


def labels(examples: list[dataset.Example]) -> Counter[int]:
    return Counter(example.label for example in examples)


def test_the_split_is_stratified_seeded_and_leaves_path_order(archive: Archive, trainer_spec: MakeSpec) -> None:
    paths = archive(zipped(shapes(10) | shapes(5, ("circle",), first=50)))
    data, again, other = (dataset.load(trainer_spec(paths, seed=seed)) for seed in (1, 1, 2))
    assert labels(data.val) == {0: 3, 1: 2}
    assert labels(data.train) == {0: 12, 1: 8}
    assert [e.image.path for e in data.val] == [e.image.path for e in again.val]
    assert [e.image.path for e in data.val] != [e.image.path for e in other.val]
    for part in (data.train, data.val):
        assert [e.image.path for e in part] == sorted(e.image.path for e in part)


def test_each_label_keeps_an_image_to_train_on(archive: Archive, trainer_spec: MakeSpec) -> None:
    paths = archive(zipped(shapes(1, ("circle",)) | shapes(2, ("square",))))
    data = dataset.load(trainer_spec(paths, split=0.9))
    assert labels(data.train) == {0: 1, 1: 1}
    assert labels(data.val) == {1: 1}


def test_a_split_of_zero_holds_nothing_out(archive: Archive, trainer_spec: MakeSpec) -> None:
    assert dataset.load(trainer_spec(archive(zipped(shapes(5))), split=0.0)).val == []


@pytest.mark.parametrize("with_test", [True, False])
def test_folders_of_splits_are_taken_as_they_are(archive: Archive, trainer_spec: MakeSpec, with_test: bool) -> None:
    splits = ("train", "val", "test") if with_test else ("train", "val")
    files = {f"{split}/{path}": data for split in splits for path, data in shapes(3).items()}
    data = dataset.load(trainer_spec(archive(zipped(files)), split=0.5))
    assert (len(data.train), len(data.val), len(data.test)) == (6, 6, 6 if with_test else 0)


def test_a_validation_file_is_the_validation_set(archive: Archive, trainer_spec: MakeSpec) -> None:
    spec = trainer_spec(archive(zipped(shapes(4))), validation=archive(zipped(shapes(3, first=20))))
    data = dataset.load(spec)
    assert (len(data.train), len(data.val)) == (8, 6)
