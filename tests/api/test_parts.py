"""Uploads in parts, by the stock client and by hand."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from tests.api.conftest import problem
from tests.drawing import shapes, zipped

Announce = Callable[..., str]
ARCHIVE = zipped(shapes(4))


@pytest.fixture
def announce(api: httpx.Client) -> Announce:
    def announce(content: bytes = ARCHIVE, **more: object) -> str:
        body = {"filename": "a.zip", "bytes": len(content), "purpose": "fine-tune", "mime_type": "application/zip"}
        answer = api.post("/v1/uploads", json=body | more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    return announce


def sent(api: httpx.Client, upload: str, content: bytes) -> str:
    answer = api.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", content)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def drafts(api_data: Path) -> list[Path]:
    return [path for path in (api_data / "files").glob("*/incoming/*") if path.is_file()]


def test_the_stock_client_sends_a_file_in_parts(api: httpx.Client, api_data: Path) -> None:
    client = openai.OpenAI(base_url=f"{api.base_url}/v1", api_key="none")
    upload = client.uploads.upload_file_chunked(
        file=ARCHIVE,
        filename="a.zip",
        bytes=len(ARCHIVE),
        mime_type="application/zip",
        purpose="fine-tune",
        part_size=999,
    )
    assert (upload.status, upload.bytes, upload.filename) == ("completed", len(ARCHIVE), "a.zip")
    assert upload.file is not None
    assert client.files.content(upload.file.id).read() == ARCHIVE
    assert client.fine_tuning.jobs.create(model="resnet18", training_file=upload.file.id).status == "queued"
    assert drafts(api_data) == []


def test_parts_come_in_any_order_and_completing_may_be_repeated(api: httpx.Client, announce: Announce) -> None:
    upload = announce(layout={}, expires_after=None)
    second, first = sent(api, upload, ARCHIVE[1000:]), sent(api, upload, ARCHIVE[:1000])
    body = {"part_ids": [first, second], "md5": hashlib.md5(ARCHIVE).hexdigest()}
    done = api.post(f"/v1/uploads/{upload}/complete", json=body).json()
    assert done["file"]["contents"]["labels"] == {"train": {"circle": 4, "square": 4}}
    assert api.post(f"/v1/uploads/{upload}/complete", json=body).json() == done
    problem(api.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", b"x")}), 409)


def test_what_does_not_fit_together_is_refused_by_name_and_nothing_is_lost(
    api: httpx.Client, announce: Announce
) -> None:
    upload = announce()
    first, second = sent(api, upload, ARCHIVE[:1000]), sent(api, upload, ARCHIVE[1000:])
    for body, said in (
        ({"part_ids": [first]}, "1000 bytes"),
        ({"part_ids": [first, first]}, "stands there twice"),
        ({"part_ids": [first, "part-none"]}, "no part of this upload"),
        ({"part_ids": [first, second], "md5": "0" * 32}, "md5"),
        ({"part_ids": [second, first]}, "zip, tar or tar.gz"),
        ({"part_ids": []}, "part_ids"),
    ):
        assert said in problem(api.post(f"/v1/uploads/{upload}/complete", json=body), 422)["detail"]
    assert api.post(f"/v1/uploads/{upload}/complete", json={"part_ids": [first, second]}).status_code == 200


def test_a_cancelled_upload_leaves_nothing(api: httpx.Client, announce: Announce, api_data: Path) -> None:
    upload = announce()
    sent(api, upload, ARCHIVE[:1000])
    assert api.post(f"/v1/uploads/{upload}/cancel").json()["status"] == "cancelled"
    assert drafts(api_data) == []
    problem(api.post(f"/v1/uploads/{upload}/complete", json={"part_ids": ["part-x"]}), 409)
    problem(api.post("/v1/uploads/upload-none/cancel"), 404)


def test_more_than_may_come_is_refused_before_it_comes(api: httpx.Client, announce: Announce, api_data: Path) -> None:
    body = {"filename": "a.zip", "purpose": "fine-tune", "mime_type": ""}
    assert "HEADWAY_MAX_UPLOAD_BYTES" in problem(api.post("/v1/uploads", json=body | {"bytes": 2**50}), 413)["detail"]
    upload = announce(b"x" * 10)
    problem(api.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", b"x" * 11)}), 413)
    problem(api.post(f"/v1/uploads/{upload}/parts", files={"part": ("part", b"x")}), 422)
    assert drafts(api_data) == []


def test_completing_at_once_makes_one_file_and_no_more_comes_than_was_announced(
    api: httpx.Client, announce: Announce, api_data: Path
) -> None:
    before = len(api.get("/v1/files").json()["data"])
    upload = announce()
    parts = [sent(api, upload, ARCHIVE[:1000]), sent(api, upload, ARCHIVE[1000:])]
    problem(api.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", b"x")}), 413)
    with ThreadPoolExecutor(4) as pool:
        body = {"part_ids": parts}
        url = f"{api.base_url}/v1/uploads/{upload}/complete"
        answers = list(pool.map(lambda _: httpx.post(url, json=body, timeout=60), range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    made = api.post(f"/v1/uploads/{upload}/complete", json=body).json()["file"]["id"]
    assert {answer.json()["file"]["id"] for answer in answers if answer.status_code == 200} <= {made}
    assert len(api.get("/v1/files").json()["data"]) == before + 1
    assert drafts(api_data) == []


def test_parts_whose_bytes_are_gone_are_named(api: httpx.Client, announce: Announce, api_data: Path) -> None:
    upload = announce()
    part = sent(api, upload, ARCHIVE)
    for draft in drafts(api_data):
        draft.unlink()
    refused = problem(api.post(f"/v1/uploads/{upload}/complete", json={"part_ids": [part]}), 422)
    assert part in refused["detail"]
