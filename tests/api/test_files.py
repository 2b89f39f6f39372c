"""Uploads: streamed, counted, cut, refused with their reason; nothing is left behind."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.drawing import shapes, tarred, zipped
from tests.waiting import wait_until

Upload = Callable[..., httpx.Response]


def test_an_upload_is_listed_counted_and_hashed(api: httpx.Client, upload: Upload) -> None:
    content = zipped(shapes(3))
    file = upload(api, content, "shapes.zip").json()
    assert (file["object"], file["purpose"], file["status"]) == ("file", "fine-tune", "processed")
    assert (file["filename"], file["bytes"]) == ("shapes.zip", len(content))
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    each = {"train": {"circle": 3, "square": 3}}
    assert file["contents"] == {"images": 6, "labels": each, "ignored": 0, "splits_left_out": []}
    assert api.get(f"/v1/files/{file['id']}").json() == file
    assert api.get("/v1/files").json()["data"] == [file | {"findings": []}]


def test_the_content_comes_back_as_it_was(api: httpx.Client, upload: Upload) -> None:
    for content in (zipped(shapes(1)), tarred(shapes(1), "w:gz")):
        id = upload(api, content).json()["id"]
        assert api.get(f"/v1/files/{id}/content").content == content


def test_a_list_goes_on_where_the_page_before_ended(api: httpx.Client, upload: Upload) -> None:
    ids = [upload(api, zipped(shapes(1, first=i))).json()["id"] for i in range(3)]
    first = api.get("/v1/files", params={"limit": 2}).json()
    assert ([file["id"] for file in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    rest = api.get("/v1/files", params={"limit": 2, "after": first["last_id"]}).json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == ([ids[0]], False)


def test_the_order_of_the_forms_fields_does_not_matter(api: httpx.Client) -> None:
    archive = zipped(shapes(1))
    for names in (["file", "purpose"], ["purpose", "file"]):
        values: dict[str, tuple[str | None, bytes]] = {"file": ("a.zip", archive), "purpose": (None, b"fine-tune")}
        assert api.post("/v1/files", files={name: values[name] for name in names}).status_code == 200


def test_a_wrong_purpose_or_no_file_is_named(api: httpx.Client) -> None:
    file = {"file": ("a.zip", zipped(shapes(1)))}
    assert problem(api.post("/v1/files", files=file), 422)["error"]["param"] == "purpose"
    wrong = api.post("/v1/files", files=file, data={"purpose": "assistants"})
    assert problem(wrong, 422)["error"]["param"] == "purpose"
    missing = api.post("/v1/files", files={"purpose": (None, "fine-tune")})
    assert problem(missing, 422)["error"]["param"] == "file"
    assert "multipart" in problem(api.post("/v1/files", json={}), 400)["detail"]


def test_a_foreign_archive_is_refused_and_leaves_nothing(api: httpx.Client, upload: Upload) -> None:
    refused = problem(upload(api, b"hello"), 422)
    assert refused["code"] == "invalid_archive"
    assert refused["error"]["param"] == "file"
    assert api.get("/v1/files").json()["data"] == []


def test_an_upload_over_the_cap_is_cut_with_413_whether_it_declares_its_length_or_not(
    api: httpx.Client, upload: Upload
) -> None:
    assert problem(upload(api, bytes(3_000_001)), 413)["error"]["param"] == "file"

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        for _ in range(400):
            yield bytes(10_000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert problem(api.post("/v1/files", content=endless(), headers=headers), 413)["code"] == "too_large"


def test_a_body_without_its_end_is_refused(api: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK'
    assert "cut off" in problem(api.post("/v1/files", content=body, headers=headers), 400)["detail"]


def test_a_client_that_hangs_up_in_mid_upload_leaves_nothing(api: httpx.Client, api_data: Path) -> None:
    before = set(api_data.rglob("*"))
    url = api.base_url
    with socket.create_connection((url.host, url.port or 80)) as connection:
        head = (
            "POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        )
        connection.sendall(head.encode() + bytes(50_000))
        wait_until(lambda: set(api_data.rglob("*")) - before)
    wait_until(lambda: not [path for path in set(api_data.rglob("*")) - before if path.is_file()])


def test_uploads_at_the_same_time_do_not_disturb_each_other(api: httpx.Client, upload: Upload) -> None:
    answers: dict[int, httpx.Response] = {}

    def one(number: int) -> None:
        with httpx.Client(base_url=api.base_url, timeout=30) as client:
            answers[number] = upload(client, zipped(shapes(2, first=number * 10)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers.values()} == {200}
    assert len({answer.json()["id"] for answer in answers.values()}) == 8
    assert len(api.get("/v1/files").json()["data"]) == 8


def test_a_file_that_is_not_there_is_404_whatever_its_name(api: httpx.Client) -> None:
    for id in ("file-x", "file-00000000000000000000000000", "files:tenant:local", "..%2f..%2fetc%2fpasswd"):
        problem(api.get(f"/v1/files/{id}"), 404)


def test_equal_bytes_share_a_place_and_have_records_of_their_own(api: httpx.Client, upload: Upload) -> None:
    content = zipped(shapes(2))
    first = upload(api, content, "a.zip").json()
    time.sleep(0.002)
    second = upload(api, content, "b.zip").json()
    assert first["id"] != second["id"]
    assert first["sha256"] == second["sha256"]
    assert api.get(f"/v1/files/{first['id']}/content").content == content


def test_a_form_with_too_much_beside_its_file_is_cut(api: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for number in range(20_000):
            yield b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % number

    headers = {"content-type": "multipart/form-data; boundary=b"}
    problem(api.post("/v1/files", content=endless(), headers=headers), 413)
    headers = {"content-type": "multipart/form-data; boundary=" + "b" * 300}
    problem(api.post("/v1/files", content=b"x", headers=headers), 400)


def test_an_upload_that_the_disk_has_no_room_for_is_refused_before_it_comes(
    settings: Settings,
) -> None:
    with running_api(settings.model_copy(update={"port": free_port(), "max_upload_bytes": 2**60})) as large:
        body = {"filename": "a.zip", "purpose": "fine-tune", "bytes": 2**50}
        assert "bytes free, and the upload" in problem(large.post("/v1/uploads", json=body), 507)["detail"]
