"""From archives to features: in order, bounded, the same to the bit in any company, as the plain network gives them."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from services import objects
from services.contract.errors import DataUnreadable
from services.contract.spec import ArchivePaths, TrainerSpec
from tests.buckets import bucket
from tests.drawing import png, shape, shapes, zipped
from tests.extracting import extract
from workers.vision import dataset, pipeline
from workers.vision.backbone import Backbone
from workers.vision.dataset import Example
from workers.vision.images import Decoding, PlainJpeg, normalised, pixels
from workers.vision.pipeline import BATCH
from workers.vision.segments import Said

Archive = Callable[[bytes], ArchivePaths]


def examples(paths: ArchivePaths) -> list[Example]:
    spec = TrainerSpec(
        job="", tenant="", training=paths, labels=["circle", "square"], num_labels=2, split=0.0, cache="", out=""
    )
    return dataset.load(spec).train


def test_features_are_those_of_the_plain_network_on_the_transforms_pixels(archive: Archive, backbone: Backbone) -> None:
    found = examples(archive(zipped(shapes(6))))
    batches = list(extract(found, backbone))
    assert [key for batch in batches for key in batch.keys] == [example.key for example in found]
    assert len(batches) == math.ceil(12 / BATCH[backbone.device.type])
    with torch.inference_mode():
        plain = backbone.network(normalised(torch.stack([pixels(example.read()) for example in found])))
    rows = torch.cat([batch.rows for batch in batches])  # (n, 512)
    assert (rows - plain).abs().max() < 1e-4


def test_features_are_the_same_to_the_bit_in_any_company(archive: Archive, backbone: Backbone) -> None:
    found = examples(archive(zipped(shapes(3))))
    (alone,) = extract(found[3:4], backbone)
    (together,) = extract(found[::-1], backbone)
    assert torch.equal(alone.rows[0], together.rows[found[::-1].index(found[3])])


def test_an_unreadable_image_has_zeros_and_a_reason(archive: Archive, backbone: Backbone) -> None:
    found = examples(archive(zipped({"circle/1.png": png(shape("circle", 1)), "square/1.png": b"no image"})))
    (batch,) = extract(found, backbone)
    assert batch.unreadable == {found[1].key: "no image format that is known"}
    assert batch.rows.any(dim=1).tolist() == [True, False]


def test_no_more_is_decoded_than_the_ring_holds(
    archive: Archive, random_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, real = [], pipeline._decode_into

    def counted(place: torch.Tensor, content: Callable[[], bytes], decoding: Decoding) -> Said | PlainJpeg | None:
        decoded.append(content)
        return real(place, content, decoding)

    monkeypatch.setattr(pipeline, "_decode_into", counted)
    monkeypatch.setitem(BATCH, "cpu", 4)
    batches = extract(examples(archive(zipped(shapes(20)))), random_backbone)
    next(batches)
    batches.close()
    assert len(decoded) <= 4 * pipeline.AHEAD


def test_a_damaged_archive_is_told_and_not_an_unreadable_image(archive: Archive, random_backbone: Backbone) -> None:
    paths = archive(zipped(shapes(3)))
    content = bytearray(Path(paths.data).read_bytes())
    content[100] ^= 0xFF
    Path(paths.data).write_bytes(bytes(content))
    with pytest.raises(DataUnreadable, match="not what was uploaded"):
        list(extract(examples(paths), random_backbone))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.slow
def test_lower_precision_gives_nearly_the_same_direction(archive: Archive, backbone: Backbone, precision: str) -> None:
    found = examples(archive(zipped(shapes(4))))
    lower = Backbone(backbone.prepared.model_copy(update={"precision": precision}))
    (wanted,), (rows,) = extract(found, backbone), extract(found, lower)
    assert rows.rows.dtype == torch.float32
    assert torch.cosine_similarity(rows.rows, wanted.rows).min() > 0.999


@pytest.mark.slow
def test_images_of_a_bucket_are_fetched_many_at_a_time_and_are_the_same(
    random_backbone: Backbone, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped(shapes(12, first=300))
    local = archive(content)
    with bucket() as s3:
        for name, where in (("data", local.data), ("index", local.index)):
            objects.write_all(f"{s3.url}/{name}", Path(where))
        found = examples(ArchivePaths(data=f"{s3.url}/data", index=f"{s3.url}/index"))
        s3.delay = 0.02
        rows = torch.cat([batch.rows for batch in extract(found, random_backbone)])
        assert 4 < s3.most_at_once <= pipeline.FETCHERS
    assert torch.equal(rows, torch.cat([batch.rows for batch in extract(examples(local), random_backbone)]))
