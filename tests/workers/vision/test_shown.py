"""What a viewer shows: sixteen bits and floats by their range, transparency on white, and upright."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from services.pictures.bounds import Unreadable
from services.pictures.shown import RULES, TURNS
from tests.workers.vision.test_images import chunk, photo, reference, saved
from workers.vision import images
from workers.vision.images import pixels, preprocess, read

GRAY = np.asarray(photo(96, 64).convert("L"))  # (64, 96) uint8


def apart(content: bytes, levels: np.ndarray[Any, Any] | Image.Image) -> int:
    """From the picture that has these levels in eight bits."""
    image = levels if isinstance(levels, Image.Image) else Image.fromarray(levels)
    wanted = reference(saved(image.convert("RGB"), "png"))
    return int((pixels(content).int() - wanted.int()).abs().max())


# --- sixteen bits and floats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (GRAY.astype(np.uint16), GRAY),
        (GRAY.astype(np.uint16) * 16, GRAY),
        (GRAY.astype(np.uint16) * 257, GRAY),
        ((GRAY.astype(np.uint16) * 257).clip(0, 30_000), (GRAY * 1.0).clip(0, 30_000 / 257)),
    ],
    ids=["8 of 16", "12 of 16", "16", "16, not all used"],
)
def test_sixteen_bits_are_scaled_by_the_bits_that_they_take(
    format: str, values: np.ndarray[Any, Any], levels: np.ndarray[Any, Any]
) -> None:
    assert apart(saved(Image.fromarray(values), format), np.rint(levels).astype(np.uint8)) <= 1


def test_the_other_byte_order_is_the_same_picture() -> None:
    image = Image.fromarray(GRAY.astype(np.uint16) * 257)
    assert apart(saved(image, "tiff", big_tiff=True), GRAY) <= 1
    assert apart(saved(Image.fromarray((GRAY.astype(">u2") * 257).astype(">u2")), "tiff"), GRAY) <= 1


@pytest.mark.parametrize(
    ("values", "levels", "notes"),
    [
        (GRAY / 255, GRAY, []),
        (GRAY / 127.5 - 1, GRAY, []),
        (GRAY * 1.0, GRAY, []),
        (GRAY * 257.0, GRAY, []),
        (GRAY * 1e6 - 5e7, (GRAY - GRAY.min()) / np.ptp(GRAY) * 255, ["own_range"]),
        (np.full_like(GRAY, 1, dtype=float) * 1e9, np.full_like(GRAY, 128), ["own_range"]),
    ],
    ids=["0 to 1", "-1 to 1", "0 to 255", "0 to 65535", "its own", "constant"],
)
def test_floats_are_scaled_by_the_first_range_that_holds_them(
    values: np.ndarray[Any, Any], levels: np.ndarray[Any, Any], notes: list[str]
) -> None:
    content = saved(Image.fromarray(values.astype(np.float32)), "tiff")
    assert apart(content, np.rint(levels).astype(np.uint8)) <= 1
    assert read(content)[1] == notes


def test_values_that_are_not_finite_do_not_decide_the_range() -> None:
    values = (GRAY / 255).astype(np.float32)
    values[0, :2] = np.nan, np.inf
    levels = GRAY.copy()
    levels[0, :2] = GRAY.min(), GRAY.max()
    assert apart(saved(Image.fromarray(values), "tiff"), levels) <= 1
    with pytest.raises(Unreadable, match="finite"):
        pixels(saved(Image.fromarray(np.full_like(values, np.nan)), "tiff"))


def test_twelve_bit_colours_in_sixteen_are_told() -> None:
    values = (np.asarray(photo(24, 16)).astype(np.uint16) * 16).astype(">u2").reshape(16, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 24, 16, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert read(content)[1] == ["twelve_bits"]


# --- transparency --------------------------------------------------------------------------------------------------


def glyph(mode: str) -> Image.Image:
    """A black bar on a transparent ground."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (20, 8, 30, 56))
    return image.convert(mode)


def on_white() -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    image.paste("black", (20, 8, 30, 56))
    return image


@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_what_is_transparent_is_white(format: str) -> None:
    options = {"lossless": True} if format == "webp" else {}
    assert apart(saved(glyph("RGBA"), format, **options), on_white()) == 0


def test_a_transparent_colour_of_a_palette_or_of_grays_is_white() -> None:
    palette = glyph("RGBA").quantize(4)
    assert apart(saved(palette, "png"), on_white()) == 0
    assert apart(saved(glyph("LA"), "png"), on_white()) == 0
    gray = Image.new("L", (64, 64), 7)
    gray.paste(0, (20, 8, 30, 56))
    assert apart(saved(gray, "png", transparency=7), on_white()) == 0
    assert apart(saved(gray, "gif", transparency=7), on_white()) == 0


def test_an_alpha_of_nothing_is_ignored_and_that_is_said() -> None:
    image = photo(64, 48).convert("RGBA")
    image.putalpha(0)
    found, notes = read(saved(image, "png"))
    assert notes == ["transparent"]
    assert (found == reference(saved(photo(64, 48), "png"))).all()


# --- orientation ---------------------------------------------------------------------------------------------------


def tiff_block(orientation: int, *, type: int = 3) -> bytes:
    """A minimal EXIF block, the orientation as SHORT (3) or LONG (4)."""
    value = struct.pack("<HH", orientation, 0) if type == 3 else struct.pack("<I", orientation)
    return b"II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, type, 1) + value + struct.pack("<I", 0)


def app1(jpeg: bytes, *bodies: bytes) -> bytes:
    """With these segments first."""
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)
    return jpeg[:2] + segments + jpeg[2:]


XMP = b"http://ns.adobe.com/xap/1.0/\0"
PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_counts_wherever_it_stands(orientation: int) -> None:
    stored = photo(120, 80)
    upright = stored.transpose(TURNS[orientation]) if orientation > 1 else stored
    jpeg = saved(stored, "jpeg", quality=98, subsampling=0)
    exif = b"Exif\0\0" + tiff_block(orientation)
    wanted = saved(upright, "jpeg", quality=98, subsampling=0)
    for content in (
        app1(jpeg, exif),
        app1(jpeg, XMP + b"<x:xmpmeta/>", exif),  # a phone's
        app1(jpeg, b"a camera's own", exif),
        app1(jpeg, b"Exif\0\0" + tiff_block(orientation, type=4)),
        app1(jpeg, XMP + PACKET % orientation),
    ):
        assert (pixels(content).int() - pixels(wanted).int()).abs().float().mean() < 1.0


@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_other_formats_have_one_too(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, object] = {"lossless": True} if format == "webp" else {}
    content = saved(photo(90, 60), format, exif=exif, **options)
    assert apart(content, photo(90, 60).transpose(Image.Transpose.ROTATE_270)) == 0


# --- metadata that are broken, and formats -------------------------------------------------------------------------


def after_header(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(1_600_000))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"eXIf", b"no TIFF header at all"),
        chunk(b"tEXt", b"note\0x")[:-4] + b"\0\0\0\0",
    ],
    ids=["much text", "a large profile", "no EXIF", "a wrong checksum"],
)
def test_broken_metadata_cost_no_picture(broken: bytes) -> None:
    image = photo(64, 48)
    assert apart(after_header(saved(image, "png"), broken), image) == 0


def test_an_orientation_survives_broken_text() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = after_header(saved(photo(90, 60), "png", exif=exif), chunk(b"tEXt", b"note\0x")[:-4] + bytes(4))
    assert apart(content, photo(90, 60).transpose(Image.Transpose.ROTATE_270)) == 0


def test_a_webp_with_broken_exif_is_read() -> None:
    assert apart(saved(photo(64, 48), "webp", lossless=True, exif=b"Exif\0\0no TIFF header"), photo(64, 48)) == 0


@pytest.mark.parametrize("format", ["heif", "avif"])
def test_what_phones_write_is_decoded(format: str) -> None:
    pillow_heif.register_heif_opener()
    content = io.BytesIO()
    photo(96, 64).save(content, format, quality=95)
    found = pixels(content.getvalue()).float()
    assert (found - reference(saved(photo(96, 64), "png")).float()).abs().mean() < 6


def test_frames_beyond_the_first_are_told() -> None:
    frames = [photo(80, 60, seed) for seed in range(2)]
    for format in ("gif", "webp", "png", "tiff"):
        assert read(saved(frames[0], format, save_all=True, append_images=frames[1:]))[1] == ["more_frames"]


def test_a_jpeg_over_the_cap_is_decoded_smaller_and_others_are_refused_with_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 4_000_000)
    monkeypatch.setattr("services.pictures.bounds.MAX_PIXELS", 4_000_000)
    large = photo(2600, 2100)
    found = pixels(saved(large, "jpeg", quality=95)).float()
    assert (found - reference(saved(large, "png")).float()).abs().mean() < 3
    with pytest.raises(Unreadable, match="2600 × 2100 pixels are more than 4000000"):
        pixels(saved(large, "png"))


@pytest.mark.parametrize("size", [(1, 24_000), (24_000, 1)])
@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_a_strip_that_would_take_gigabytes_is_refused(size: tuple[int, int], format: str) -> None:
    with pytest.raises(Unreadable, match="more than 300 times the other"):
        pixels(saved(Image.new("RGB", size), format))


def test_other_rules_or_other_pixels_are_other_features(monkeypatch: pytest.MonkeyPatch) -> None:
    known = preprocess("near")
    assert preprocess.__wrapped__("near") == known
    assert preprocess("scaled") != known
    monkeypatch.setattr(images, "RULES", RULES + 1)
    assert preprocess.__wrapped__("near") != known
    monkeypatch.undo()
    monkeypatch.setattr(images, "pixels", lambda content: pixels(content) + 1)
    assert preprocess.__wrapped__("near") != known
