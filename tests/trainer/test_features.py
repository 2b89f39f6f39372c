"""The feature cache: by content, whole or not at all, the same to the bit in any company."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from services.contract.spec import ArchivePaths, TrainerSpec
from tests.drawing import png, shape, shapes, zipped
from workers.trainer import dataset
from workers.trainer.dataset import Example
from workers.trainer.features import Batch, FeatureCache, cache_folder, extract

CPU = torch.device("cpu")


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def filled(folder: Path, count: int = 3) -> torch.Tensor:
    cache = FeatureCache(folder)
    rows = torch.randn(count, 512)
    cache.add([key(i) for i in range(count)], rows, [True] * count)
    cache.flush()
    return rows


def test_rows_come_back_to_the_bit_in_any_order(tmp_path: Path) -> None:
    rows = filled(tmp_path)
    assert torch.equal(FeatureCache(tmp_path).gather([key(2), key(0), key(2)]), rows[[2, 0, 2]])


def test_a_tombstone_is_known_and_unreadable(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.add([key(1)], torch.zeros(1, 512), [False])
    cache.flush()
    again = FeatureCache(tmp_path)
    assert key(1) in again
    assert not again.is_readable(key(1))


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_segment_is_found_and_dropped(tmp_path: Path, harm: str) -> None:
    filled(tmp_path)
    (segment,) = tmp_path.glob("*.features")
    content = bytearray(segment.read_bytes())
    if harm == "flip":
        content[-1] ^= 1
    segment.write_bytes({"cut": bytes(content[:-100]), "flip": bytes(content), "empty": b""}[harm])
    assert key(0) not in FeatureCache(tmp_path)
    filled(tmp_path)
    assert key(0) in FeatureCache(tmp_path)


def test_two_writers_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, two = FeatureCache(tmp_path), FeatureCache(tmp_path)
    for number, cache in enumerate((one, two)):
        cache.add([key(number)], torch.full((1, 512), float(number)), [True])
        cache.flush()
    both = FeatureCache(tmp_path)
    assert both.gather([key(0), key(1)])[:, 0].tolist() == [0.0, 1.0]


def test_another_tenant_other_weights_or_another_precision_have_another_folder(tmp_path: Path) -> None:
    folders = {
        cache_folder(tmp_path, tenant, weights, precision)
        for tenant in "ab"
        for weights in "cd"
        for precision in ("fp32", "bf16")
    }
    assert len(folders) == 8


def test_features_are_the_same_to_the_bit_in_any_company(
    archive: Callable[[bytes], ArchivePaths], random_backbone: torch.nn.Module, tmp_path: Path
) -> None:
    examples = _examples(archive(zipped(shapes(5))))
    alone, together = FeatureCache(tmp_path / "alone"), FeatureCache(tmp_path / "together")
    extract(examples[3:4], random_backbone, CPU, alone, each=lambda batch: None)
    extract(examples[::-1], random_backbone, CPU, together, each=lambda batch: None)
    assert torch.equal(alone.gather([examples[3].key]), together.gather([examples[3].key]))


def test_equal_images_are_computed_once_and_keep_their_own_labels(
    archive: Callable[[bytes], ArchivePaths], random_backbone: torch.nn.Module, tmp_path: Path
) -> None:
    same = png(shape("circle", 1))
    examples = _examples(archive(zipped({"circle/a.png": same, "square/b.png": same})))
    batches: list[Batch] = []
    extract(examples, random_backbone, CPU, FeatureCache(tmp_path), each=batches.append)
    assert [len(batch.examples) for batch in batches] == [1]
    assert [example.label for example in examples] == [0, 1]


def test_what_was_computed_is_kept_when_the_extraction_is_ended(
    archive: Callable[[bytes], ArchivePaths], random_backbone: torch.nn.Module, tmp_path: Path
) -> None:
    examples = _examples(archive(zipped(shapes(2))))

    def stop(batch: Batch) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        extract(examples, random_backbone, CPU, FeatureCache(tmp_path), each=stop)
    assert all(example.key in FeatureCache(tmp_path) for example in examples)


def _examples(paths: ArchivePaths) -> list[Example]:
    spec = TrainerSpec(
        job="", tenant="", training=paths, labels=["circle", "square"], num_labels=2, split=0.0, cache="", out=""
    )
    return dataset.load(spec).train


def test_of_two_images_of_one_name_only_the_unreadable_one_gets_a_tombstone(
    archive: Callable[[bytes], ArchivePaths], random_backbone: torch.nn.Module, tmp_path: Path
) -> None:
    good = _examples(
        archive(zipped({"circle/1.png": png(shape("circle", 1)), "square/1.png": png(shape("square", 1))}))
    )
    bad = _examples(archive(zipped({"circle/1.png": b"no image", "square/1.png": png(shape("square", 2))})))
    cache = FeatureCache(tmp_path)
    extract([*good, *bad], random_backbone, CPU, cache, each=lambda batch: None)
    assert [cache.is_readable(example.key) for example in (*good, *bad)] == [True, True, False, True]
