"""Pixels are those of torchvision's transforms on Pillow's RGB image, turned as its EXIF says: one level of 255 apart
at most where simplejpeg decodes a JPEG, and equal elsewhere."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.models import ResNet18_Weights
from torchvision.transforms import functional as plain

from services.contract.weights import RandomWeights
from services.pictures.bounds import Unreadable
from tests.drawing import shape
from workers.vision import decoder, images
from workers.vision.backbone import load
from workers.vision.decoding import decoding_for
from workers.vision.engines import Extractor
from workers.vision.images import normalised, pixels, read

TRANSFORMS = ResNet18_Weights.DEFAULT.transforms()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def reference(content: bytes) -> torch.Tensor:
    """(3, 224, 224) uint8: what the transforms make of Pillow's image before they normalise it."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    cropped = plain.center_crop(plain.resize(image, TRANSFORMS.resize_size), TRANSFORMS.crop_size)
    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth and noisy at once, as photographs are."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8))
    noise = rng.normal(0, 9, (height, width, 3))
    array = np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC)) + noise
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def landscape(width: int, height: int, seed: int) -> Image.Image:
    """Large forms are strong and small ones faint, as in photographs (a spectrum of 1/f)."""
    rng = np.random.default_rng(seed)
    array = np.full((height, width, 3), rng.uniform(60, 190, 3)) + rng.normal(0, 4, (height, width, 3))
    for side in (8, 32, 128, 512):
        for channel in range(3):
            rough = Image.fromarray(rng.normal(0, 2 * side**0.5, (height // side + 2, width // side + 2)).astype("f"))
            array[..., channel] += np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def distance(content: bytes) -> int:
    return int((pixels(content).int() - reference(content).int()).abs().max())


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_is_what_pillow_makes_of_it(mode: str) -> None:
    content = saved(shape("cross", 3).convert(mode), "tiff" if mode == "CMYK" else "png")
    assert distance(content) == 0
    assert pixels(content).shape == (3, 224, 224)
    assert pixels(content).dtype == torch.uint8


@pytest.mark.parametrize("format", ["png", "webp", "gif", "bmp", "tiff"])
def test_formats_other_than_jpeg_are_pillows_to_the_bit(format: str) -> None:
    assert distance(saved(photo(300, 260), format)) == 0


def test_the_first_frame_of_an_animation_is_the_image() -> None:
    frames = [photo(80, 60, seed) for seed in range(3)]
    assert distance(saved(frames[0], "webp", save_all=True, append_images=frames[1:])) == 0
    assert distance(saved(frames[0], "gif", save_all=True, append_images=frames[1:])) == 0


@pytest.mark.parametrize("size", [(640, 480), (224, 224), (1000, 301), (37, 2000), (16, 16), (1, 5)])
@pytest.mark.parametrize("options", [{}, {"quality": 30}, {"subsampling": 0}, {"progressive": True}], ids=str)
def test_a_jpeg_is_at_most_one_level_apart(size: tuple[int, int], options: dict[str, object]) -> None:
    assert distance(saved(photo(*size), "jpeg", **options)) <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_of_another_mode_too(mode: str) -> None:
    assert distance(saved(photo(320, 240).convert(mode), "jpeg")) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_an_image_is_turned_as_its_exif_says(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(photo(240, 120), format, exif=exif)
    assert distance(content) <= (1 if format == "jpeg" else 0)


def test_a_plain_jpeg_does_not_take_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_from_image", lambda image: pytest.fail("Pillow decoded it"))
    pixels(saved(photo(320, 240), "jpeg"))
    pixels(saved(photo(320, 240).convert("L"), "jpeg"))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(1024, 2000), (1300, 1100)])
def test_below_fp32_a_large_jpeg_is_decoded_smaller_and_shows_the_same(size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(photo(*size), "jpeg", quality=90, exif=exif)
    scaled, _ = read(content, decoding_for("bf16", torch.device("cpu")))
    assert scaled.shape == (3, 224, 224)
    apart = (scaled.int() - reference(content).int()).abs().float()
    assert 0 < apart.mean() < 1.5
    assert torch.equal(read(content, decoding_for("fp32", torch.device("cpu")))[0], pixels(content))


@pytest.mark.parametrize("size", [(1022, 1500), (640, 480)])
def test_below_fp32_a_jpeg_that_no_scale_fits_is_decoded_as_it_is(size: tuple[int, int]) -> None:
    content = saved(photo(*size), "jpeg")
    assert torch.equal(read(content, "scaled")[0], pixels(content))


def test_features_of_scaled_pixels_are_nearly_those_of_whole_ones() -> None:
    """Centred, as different photographs have a plain cosine of 0.997."""
    photos = [saved(landscape(1100, 1300, seed), "jpeg", quality=90) for seed in range(4)]
    extract = Extractor(load(RandomWeights(0)), torch.device("cpu"), "fp32")
    whole, scaled = (extract(torch.stack([read(p, way)[0] for p in photos])) for way in ("near", "scaled"))
    centre = whole.mean(dim=0)
    assert torch.cosine_similarity(whole - centre, scaled - centre).min() >= 0.98  # 0.9999 here; bf16 itself: 0.9997


def test_a_progressive_jpeg_over_the_cap_is_refused_as_no_scale_makes_it_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("services.pictures.bounds", "workers.vision.images"):
        monkeypatch.setattr(f"{module}.MAX_PIXELS", 1_000_000)
    with pytest.raises(Unreadable, match="more than 1000000"):
        pixels(saved(photo(1200, 1100), "jpeg", progressive=True))
    assert pixels(saved(photo(1200, 1100), "jpeg")).shape == (3, 224, 224)


def test_normalised_pixels_are_those_of_the_transforms_to_the_bit() -> None:
    content = saved(photo(320, 240), "png")
    wanted = TRANSFORMS(Image.open(io.BytesIO(content)))
    assert torch.equal(normalised(pixels(content)[None])[0], wanted)


@pytest.mark.parametrize("content", [b"", b"text", saved(shape("circle", 0), "png")[:60]])
def test_what_is_no_image_says_why_without_its_bytes(content: bytes) -> None:
    with pytest.raises(Unreadable) as error:
        pixels(content)
    assert "BytesIO" not in str(error.value)


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_a_jpeg_of_which_rows_are_missing_is_unreadable_as_it_is_for_pillow(
    part: float, options: dict[str, object]
) -> None:
    content = saved(photo(320, 240), "jpeg", **options)
    with pytest.raises(Unreadable):
        pixels(content[: int(len(content) * part)])


@pytest.mark.parametrize("missing", [1, 2, 4])
def test_a_jpeg_that_lacks_only_its_end_is_read_as_viewers_read_it_and_that_is_said(missing: int) -> None:
    content = saved(photo(320, 240), "jpeg")
    found, notes = read(content[:-missing])
    assert notes == ["cut"]
    assert (found.int() - pixels(content).int()).abs().float().mean() < 0.2


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side: int) -> bytes:
    """A PNG of one bit a pixel, black: 100 KB that are 600 million pixels."""
    packer, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_format_that_is_not_on_the_list_is_not_even_looked_at() -> None:
    inner = bomb(25_000)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 1, len(inner), 22) + inner
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n(%pipe%id) (r) file\n%%EOF\n"
    for content in (icon, script):
        with pytest.raises(Unreadable, match="no image format"):
            pixels(content)


def test_a_rare_format_is_decoded_with_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    large = saved(Image.new("L", (9_000, 9_000)), "gif")
    monkeypatch.setattr(decoder, "_of_thread", threading.local())
    monkeypatch.setattr(decoder, "MEMORY", 300 * 1024**2)
    with pytest.raises(Unreadable, match="more memory"):
        pixels(large)
    assert distance(saved(photo(300, 260), "webp")) == 0  # by the same process

    monkeypatch.setattr(decoder, "_of_thread", threading.local())
    monkeypatch.setattr(decoder, "MEMORY", 3 * 1024**3)
    monkeypatch.setattr(images, "SECONDS", 0)
    with pytest.raises(Unreadable, match="more than 0 s"):
        for _ in range(20):  # the kernel counts whole seconds, and this image may take less than one
            pixels(large)


def test_a_decoder_that_dies_costs_its_image_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_of_thread", threading.local())
    content = saved(photo(300, 260), "gif")
    assert distance(content) == 0
    decoder._of_thread.decoder.process.kill()
    decoder._of_thread.decoder.process.wait()
    assert distance(content) == 0
