"""Strangers: nobody is served before the key is known, nothing is read without a bound, and silence ends."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from services.api.door import BODY_CAP
from services.keysfile import new_key
from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.jobs import JOBS

JSON = {"Content-Type": "application/json"}
HEADERS = 1.0  # seconds: the deadline that `guarded` gives


@pytest.fixture(scope="module")
def guarded(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    """An API with a key, whose deadlines are a tenth, and the key."""
    data = tmp_path_factory.mktemp("guarded")
    key = new_key(data / "keys.jsonl", "ann")
    config = Settings(
        data_dir=data, redis_url=valkey_url, port=free_port(), api_keys_file=data / "keys.jsonl", time_scale=0.1
    )
    with running_api(config) as client:
        yield client, key


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30)


def end_of(connection: socket.socket) -> float:
    """Seconds until it was closed, with a byte each twentieth of one."""
    began = time.monotonic()
    connection.settimeout(0.05)
    while True:
        try:
            if not connection.recv(4096):
                return time.monotonic() - began
        except TimeoutError:
            try:
                connection.sendall(b"a")
            except OSError:
                return time.monotonic() - began
        except OSError:
            return time.monotonic() - began
        assert time.monotonic() - began < 30, "it lives on"


def test_a_stranger_is_refused_before_a_byte_of_the_body_is_read(guarded: tuple[httpx.Client, str]) -> None:
    client, _ = guarded
    problem(client.post(JOBS, content=b"{", headers=JSON), 401)

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    with pytest.raises(httpx.TransportError):  # or the answer, where it is seen before the connection ends
        problem(client.post(JOBS, content=endless(), headers=JSON), 401)
        raise httpx.TransportError("seen")
    assert sent < 1 << 30


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_json_has_a_cap(guarded: tuple[httpx.Client, str], declared: bool) -> None:
    client, key = guarded
    body = b'{"suffix": "' + b"x" * BODY_CAP + b'"}'
    content = body if declared else iter([body[:-5], body[-5:]])
    answer = client.post(JOBS, content=content, headers=JSON | {"Authorization": f"Bearer {key}"})
    assert str(BODY_CAP) in problem(answer, 413)["detail"]


def test_a_name_that_stands_twice_is_refused(guarded: tuple[httpx.Client, str]) -> None:
    client, key = guarded
    body = b'{"training_file": "file-1", "limits": {"max_seconds": 1, "max_seconds": 2}}'
    answer = client.post(JOBS, content=body, headers=JSON | {"Authorization": f"Bearer {key}"})
    assert problem(answer, 422)["error"]["param"] == "max_seconds"


@pytest.mark.parametrize("begun", [b"", b"GET /v1/files HTTP/1.1\r\nHost: x\r\nX-A: "], ids=["silent", "headers"])
def test_headers_have_a_deadline(guarded: tuple[httpx.Client, str], begun: bytes) -> None:
    client, _ = guarded
    with closing(connected(client)) as connection:
        connection.sendall(begun)
        assert 0.5 * HEADERS < end_of(connection) < 3 * HEADERS


def test_the_second_request_of_a_connection_has_the_same_deadline(guarded: tuple[httpx.Client, str]) -> None:
    client, _ = guarded
    with closing(connected(client)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(4096)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        assert 0.5 * HEADERS < end_of(connection) < 3 * HEADERS


@pytest.mark.parametrize("known", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("path", [JOBS, "/v1/files"])
def test_a_body_that_drips_is_cut(guarded: tuple[httpx.Client, str], path: str, known: bool) -> None:
    client, key = guarded
    kind = "application/json" if path == JOBS else "multipart/form-data; boundary=x"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 99999\r\n"
    with closing(connected(client)) as connection:
        connection.sendall(f"{head}{f'Authorization: Bearer {key}' if known else 'X: y'}\r\n\r\n--x\r\n".encode())
        assert end_of(connection) < 8


def test_a_body_that_drips_behind_another_request_is_cut_too(guarded: tuple[httpx.Client, str]) -> None:
    client, _ = guarded
    post = f"POST {JOBS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{{"
    with closing(connected(client)) as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n{post}".encode())
        assert b"200 OK" in connection.recv(4096)
        assert end_of(connection) < 8


def test_a_body_with_very_many_names_is_read_at_once(guarded: tuple[httpx.Client, str]) -> None:
    client, key = guarded
    body = "{" + ",".join(f'"n{number}": 1' for number in range(60_000)) + "}"
    began = time.monotonic()
    answer = client.post(JOBS, content=body, headers=JSON | {"Authorization": f"Bearer {key}"})
    assert answer.status_code == 422
    assert time.monotonic() - began < 20


def test_an_upload_that_comes_slowly_but_comes_is_taken(guarded: tuple[httpx.Client, str]) -> None:
    """Over more than a window of its pace."""
    client, key = guarded

    def slowly() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        for _ in range(12):
            time.sleep(0.4)
            yield b"y" * 4096
        yield b'\r\n--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x--\r\n'

    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {key}"}
    assert problem(client.post("/v1/files", content=slowly(), headers=headers), 422)["code"] == "invalid_archive"


def test_silent_connections_in_their_thousands_keep_nobody_out(valkey_url: str, tmp_path: Path) -> None:
    config = Settings(data_dir=tmp_path, redis_url=valkey_url, port=free_port())
    with running_api(config) as client, ExitStack() as open:
        for _ in range(3_000):
            open.enter_context(closing(connected(client)))
        with httpx.Client(base_url=client.base_url, timeout=5) as newcomer:
            assert newcomer.get("/v1/files").status_code == 200
