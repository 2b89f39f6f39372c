"""The images of a file: listed by their paths, and drawn small, upright, once, within limits."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from services.api.judged import JudgedFilter, judged_page
from services.api.routes.files import _some_images
from services.datasets.index import IndexedImage, write_index
from tests.api.conftest import problem
from tests.drawing import png, shapes, zipped
from tests.workers.vision.test_images import bomb, saved
from workers.vision.images import pixels

Upload = Callable[..., httpx.Response]


pillow_heif.register_heif_opener(thumbnails=False)


def uploaded(api: httpx.Client, upload: Upload, files: dict[str, bytes]) -> str:
    answer = upload(api, zipped(files))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def drawn(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    assert "immutable" in answer.headers["cache-control"]
    return Image.open(io.BytesIO(answer.content))


def striped() -> Image.Image:
    """Red above blue, wider than high."""
    image = Image.new("RGB", (400, 100), "blue")
    image.paste("red", (0, 0, 400, 50))
    return image


def test_the_images_are_listed_by_path_and_page_by_page(api: httpx.Client, upload: Upload) -> None:
    split = {f"{place}/{path}": content for place in ("train", "val") for path, content in shapes(3).items()}
    file = uploaded(api, upload, split)
    found, after = [], None
    while True:
        page = api.get(f"/v1/files/{file}/images", params={"limit": 5} | ({"after": after} if after else {})).json()
        found += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert [image["id"] for image in found] == sorted(split)
    assert {(image["label"], image["split"]) for image in found} == {
        (label, split) for label in ("circle", "square") for split in ("train", "val")
    }
    some = api.get(f"/v1/files/{file}/images", params={"label": "square", "split": "val"}).json()["data"]
    assert [image["id"] for image in some] == sorted(path for path in split if path.startswith("val/square"))


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "heif"])
def test_a_thumbnail_is_upright_whatever_the_format(api: httpx.Client, upload: Upload, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1 if format == "heif" else 6  # turn it a quarter to the right
    name = f"a/an image, über.{format}"
    file = uploaded(api, upload, shapes(2) | {name: saved(striped(), format, exif=exif)})
    image = drawn(api.get(f"/v1/files/{file}/images/{quote(name)}", params={"size": 100}))
    if format == "heif":
        assert image.size == (128, 32)
    else:
        assert image.size == (32, 128)
        (left, _, blue), (red, *_) = image.getpixel((4, 64)), image.getpixel((28, 64))  # type: ignore[misc]
        assert blue > 200 > 100 > left and red > 200


def test_it_is_drawn_once_and_goes_with_its_file(api: httpx.Client, upload: Upload, api_data: Path) -> None:
    file = uploaded(api, upload, shapes(2, first=70))
    place = f"/v1/files/{file}/images/circle/070.png"
    first = api.get(place)
    assert drawn(first).size == (64, 64)  # never larger than it is
    sha256 = api.get(f"/v1/files/{file}").json()["sha256"]
    (kept,) = api_data.rglob(f"{sha256}.*.jpg")
    kept.write_bytes(b"as it was kept")
    assert api.get(place).content == b"as it was kept"
    assert drawn(api.get(place, params={"size": 65})).size == (64, 64)
    assert api.delete(f"/v1/files/{file}").status_code == 200
    assert not list(api_data.rglob(f"{sha256}*"))
    problem(api.get(place), 404)


def test_what_cannot_be_shown_says_why_and_the_next_is_shown(api: httpx.Client, upload: Upload) -> None:
    file = uploaded(api, upload, shapes(4) | {"circle/bomb.png": bomb(25_000), "circle/text.png": b"no picture at all"})
    refused = problem(api.get(f"/v1/files/{file}/images/circle/bomb.png"), 422)
    assert refused["error"]["code"] == "image_unreadable"
    assert "pixels are more than" in refused["detail"]
    assert "no image format" in problem(api.get(f"/v1/files/{file}/images/circle/text.png"), 422)["detail"]
    drawn(api.get(f"/v1/files/{file}/images/circle/000.png"))


def test_an_image_or_a_size_that_is_not_there_is_named(api: httpx.Client, upload: Upload) -> None:
    file = uploaded(api, upload, shapes(2))
    for path in ("circle/000", "circle", "circle/000.png/x", "..%2F..%2Fetc%2Fpasswd", "zzz"):
        assert problem(api.get(f"/v1/files/{file}/images/{path}"), 404)["error"]["param"] == "path"
    for size in (0, 1025, "large"):
        refused = problem(api.get(f"/v1/files/{file}/images/circle/000.png", params={"size": size}), 422)
        assert refused["error"]["param"] == "size"


def test_a_thumbnail_shows_what_is_trained_on(api: httpx.Client, upload: Upload) -> None:
    """Transparency on white, as in `pixels`."""
    glass = Image.new("RGBA", (256, 256), (255, 0, 0, 0))
    glass.paste((0, 0, 255, 255), (0, 0, 128, 256))
    file = uploaded(api, upload, shapes(2) | {"circle/glass.png": png(glass)})
    image = drawn(api.get(f"/v1/files/{file}/images/circle/glass.png", params={"size": 256}))
    trained = pixels(png(glass)).permute(1, 2, 0).numpy()
    for x in (30, 200):
        assert np.abs(np.asarray(image)[100, x].astype(int) - trained[100, x]).max() < 6


def test_an_image_that_only_a_jobs_layout_reads_is_shown_too(api: httpx.Client, upload: Upload) -> None:
    files = {f"{place}/{path}": content for place in ("one", "two") for path, content in shapes(3).items()}
    answer = upload(api, zipped(files), fields={"layout": json.dumps({"train": "one", "ignore": ["two"]})})
    file = answer.json()["id"]
    problem(api.get(f"/v1/files/{file}/images/two/circle/001.png"), 404)
    other = {"training_file": file, "layout": {"train": "one", "val": "two"}}
    assert api.post("/v1/fine_tuning/jobs", json=other).status_code == 200
    drawn(api.get(f"/v1/files/{file}/images/two/circle/001.png"))


def test_a_request_looks_through_so_many_lines_and_its_page_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.judged.LOOKED_AT", 10)
    monkeypatch.setattr("services.api.routes.files.LOOKED_AT", 10)
    index, judged = tmp_path / "index", tmp_path / "judged"
    paths = [f"{n:03d}" for n in range(35)]
    write_index((IndexedImage(p, "ab"[p == "033"], "train", 0, 0, 0, 0, "0" * 64) for p in paths), index)
    judged.write_text("".join(json.dumps([p, "a", "ab"[p == "033"], 0.5, 1.0]) + "\n" for p in paths))

    found, pages = list[str](), 0
    after: str | None = ""
    while after is not None:
        some, after = _some_images(index, after, 5, "b", None)
        found, pages = found + [image.id for image in some], pages + 1
    assert (found, pages) == (["033"], 4)

    ranks = list[str]()
    rank: str | None = "-1"
    while rank is not None:
        images, rank = judged_page(judged, "file-0", JudgedFilter(wrong=True), after=int(rank), limit=5)
        ranks += [image.id for image in images]
    assert ranks == ["33"]
    every, rest = judged_page(judged, "file-0", JudgedFilter(), after=-1, limit=5)
    assert ([image.id for image in every], rest) == (["0", "1", "2", "3", "4"], "4")
