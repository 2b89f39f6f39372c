"""Pixels are those of torchvision's transforms on Pillow's RGB image, turned as its EXIF says."""

import io

import pytest
import torch
from PIL import Image, ImageOps
from torchvision.models import ResNet18_Weights

from tests.drawing import shape
from workers.trainer.images import Unreadable, decode, pixels


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_what_pillow_makes_of_it(mode: str) -> None:
    image = shape("cross", 3).convert("L").convert("I;16") if mode == "I;16" else shape("cross", 3).convert(mode)
    content = saved(image, "tiff" if mode == "CMYK" else "png")
    wanted = ResNet18_Weights.DEFAULT.transforms()(Image.open(io.BytesIO(content)).convert("RGB"))
    assert torch.equal(pixels(content), wanted)
    assert pixels(content).shape == (3, 224, 224)


@pytest.mark.parametrize("format", ["jpeg", "webp", "gif", "bmp"])
def test_every_common_format_is_read(format: str) -> None:
    assert decode(saved(shape("circle", 1), format)).mode == "RGB"


def test_an_image_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    content = saved(Image.new("RGB", (40, 20)), "jpeg", exif=exif)
    assert decode(content).size == (20, 40)
    assert decode(content).tobytes() == ImageOps.exif_transpose(Image.open(io.BytesIO(content))).tobytes()


@pytest.mark.parametrize("content", [b"", b"text", saved(shape("circle", 0), "png")[:60]])
def test_what_is_no_image_says_why_without_its_bytes(content: bytes) -> None:
    with pytest.raises(Unreadable) as error:
        decode(content)
    assert "BytesIO" not in str(error.value)
