"""Photographs are sent small, upright, and as what they are; nothing else is touched."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from services.client.shrink import packed_small, small
from tests.client.test_command import headway
from tests.client.test_folder import laid
from tests.workers.vision.test_images import photo, saved
from workers.vision.images import pixels


def test_a_photograph_becomes_small_and_upright_and_looks_the_same(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    camera = photo(200, 150).resize((1600, 1200), Image.Resampling.BICUBIC)
    large = saved(camera, "jpeg", quality=95, exif=exif)
    laid(tmp_path, {"cat/1.JPG": large})
    name, content = small(tmp_path, "cat/1.JPG")
    assert name == "cat/1.JPG"
    assert len(content) < len(large) / 3
    assert Image.open(io.BytesIO(content)).size == (512, 683)
    assert (pixels(content).float() - pixels(large).float()).abs().mean() < 3


def test_a_heic_becomes_a_jpeg_beside_its_name(tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    laid(tmp_path, {"cat/1.HEIC": saved(photo(96, 64), "heif", quality=95), "cat/1.jpg": saved(photo(96, 64), "jpeg")})
    content = io.BytesIO()
    told: list[tuple[int, int]] = []
    packed_small(tmp_path, content, lambda done, of: told.append((done, of)))
    assert zipfile.ZipFile(content).namelist() == ["cat/1.HEIC.jpg", "cat/1.jpg"]
    assert told == [(1, 2), (2, 2)]


def test_what_is_no_photograph_goes_as_it_is(tmp_path: Path) -> None:
    files = {
        "a/small.jpg": saved(photo(300, 200), "jpeg"),
        "a/clear.png": saved(photo(900, 800).convert("RGBA"), "png"),
        "a/sixteen.png": saved(Image.fromarray(np.zeros((900, 800), dtype=np.uint16)), "png"),
        "a/cut.jpg": saved(photo(900, 800), "jpeg")[:2000],
        "labels.csv": b"path,label",
    }
    laid(tmp_path, files)
    assert {name: small(tmp_path, name) for name in files} == {name: (name, files[name]) for name in files}


def test_that_photographs_were_shrunk_is_said_aloud(tmp_path: Path) -> None:
    laid(tmp_path, {f"{label}/{n}.jpg": saved(photo(900, 800, n), "jpeg") for label in "ab" for n in range(2)})
    done = headway("train", str(tmp_path), "--shrink", "--url", "http://127.0.0.1:9")
    assert "--no-shrink sends them as they are" in done.stdout
    assert "shrink" not in headway("train", str(tmp_path), "--url", "http://127.0.0.1:9").stdout
