"""JPEGs that the device decodes: with torchcodec's decoder for the CPU in the place of nvJPEG's."""

import io
from collections.abc import Callable, Iterator

import pytest
import torch
from PIL import Image

from services.contract.spec import ArchivePaths
from tests.drawing import png, shape, zipped
from tests.extracting import extract
from tests.workers.vision.test_pipeline import examples
from workers.vision import agreement, decoding, gpu_decoder, images
from workers.vision.backbone import Backbone
from workers.vision.images import PlainJpeg, plain_jpeg

CPU = torch.device("cpu")
decoders = pytest.importorskip("torchcodec.decoders")


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if this processor were the device that decodes."""
    monkeypatch.setattr(gpu_decoder, "DEVICE", CPU)
    gpu_decoder.is_used.cache_clear()
    agreement.photos.cache_clear()
    yield
    gpu_decoder.is_used.cache_clear()
    agreement.photos.cache_clear()


def jpeg(seed: int, size: tuple[int, int] = (400, 300), *, turned: int = 1, mode: str = "RGB") -> bytes:
    exif = Image.Exif()
    exif[274] = turned
    content = io.BytesIO()
    shape("circle", seed).resize(size).convert(mode).save(content, "JPEG", quality=90, exif=exif)
    return content.getvalue()


FILES = {
    "circle/1.jpg": jpeg(1),
    "circle/2.jpg": jpeg(2, (300, 500), turned=6),
    "circle/3.jpg": jpeg(3, mode="L"),
    "circle/4.png": png(shape("circle", 4)),
    "square/5.jpg": jpeg(5, mode="CMYK"),
    "square/6.jpg": jpeg(6)[:-2],
    "square/7.jpg": b"\xff\xd8 no picture",
}


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one.float() - other.float()).abs().mean().item()


@pytest.mark.usefixtures("at_hand")
def test_it_is_used_below_fp32_where_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoding.decoding_for("fp32", CPU) == "near"
    assert decoding.decoding_for("bf16", CPU) == "gpu"
    assert "plain JPEGs by torchcodec" in decoding.preprocess("bf16", CPU)
    monkeypatch.setattr(gpu_decoder, "MOST_APART", 0.0)
    gpu_decoder.is_used.cache_clear()
    assert decoding.decoding_for("bf16", CPU) == "scaled"


def test_without_such_a_device_the_host_decodes() -> None:
    assert decoding.decoding_for("bf16", CPU) == "scaled"


@pytest.mark.slow
@pytest.mark.usefixtures("at_hand")
def test_preflight_judges_and_fingerprints_what_it_gives() -> None:
    photos = agreement.photos("gpu")
    assert apart(photos, agreement.photos("exact")) < gpu_decoder.MOST_APART
    expected = agreement.reference("gpu")
    assert agreement.agrees(expected.float(), "bf16", "gpu")
    assert not agreement.agrees(expected.flip(0).float(), "bf16", "gpu")
    agreement.reference.cache_clear()


@pytest.mark.usefixtures("at_hand")
def test_a_batch_is_decoded_there_and_what_is_not_plain_here(
    archive: Callable[[bytes], ArchivePaths], random_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examples(archive(zipped(FILES)))
    assert decoding.decoding_for("bf16", CPU) == "gpu"
    calls: list[int] = []
    real = decoders.decode_jpeg

    def counted(sources: list[bytes], **options: object) -> list[torch.Tensor]:
        calls.append(len(sources))
        return list(real(sources, **options))

    monkeypatch.setattr(decoders, "decode_jpeg", counted)
    seen: list[torch.Tensor] = []
    body = random_backbone.at("bf16")

    def extracted(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels.clone())
        return random_backbone.extract(pixels)

    vars(body)["extract"] = extracted
    (batch,) = extract(found, body)
    assert calls == [3]
    assert list(batch.unreadable) == [found[-1].key]
    for row, example in enumerate(found[:-1]):
        assert apart(seen[0][row], images.pixels(example.read())) < gpu_decoder.MOST_APART, example.image.path
    assert not batch.rows[-1].any()


def test_what_the_device_refuses_is_the_hosts_and_costs_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [plain_jpeg(FILES[name]) for name in ("circle/1.jpg", "circle/2.jpg")]
    assert None not in plain
    left = {0: plain[0], 2: PlainJpeg(b"\xff\xd8 refused by both", 1, 100), 3: plain[1]}
    slot = torch.full((5, 3, 224, 224), 7, dtype=torch.uint8)
    pixels, unreadable = gpu_decoder.filled(slot, {row: each for row, each in left.items() if each}, CPU)
    assert list(unreadable) == [2]
    assert not pixels[2].any()
    for row, name in ((0, "circle/1.jpg"), (3, "circle/2.jpg")):
        assert apart(pixels[row], images.pixels(FILES[name])) < gpu_decoder.MOST_APART
    assert (pixels[[1, 4]] == 7).all()
    assert (slot == 7).all()

    def away(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(decoders, "decode_jpeg", away)
    by_host, _ = gpu_decoder.filled(slot, {row: each for row, each in left.items() if each}, CPU)
    assert torch.equal(by_host[0], images.read(FILES["circle/1.jpg"], "scaled")[0])


def test_a_call_has_so_many_pixels_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_decoder, "MOST_PIXELS", 100)
    sizes = [60, 40, 1, 99, 500, 10]
    left = {row: PlainJpeg(b"", 1, pixels) for row, pixels in enumerate(sizes)}
    assert list(gpu_decoder._calls(left)) == [[0, 1], [2, 3], [4], [5]]
