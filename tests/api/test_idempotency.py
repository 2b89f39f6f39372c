"""A submission that comes twice makes one job."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import openai
import pytest
import redis

from tests.api.conftest import problem
from tests.jobs import JOBS

Submit = Callable[..., httpx.Response]


def post(api: httpx.Client, file: str, *, learning_rate: float = 0.1, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"training_file": file, "learning_rate": learning_rate}
    return api.post("/v1/fine_tuning/jobs", json=body, headers=named)


def jobs(api: httpx.Client) -> list[str]:
    return [job["id"] for job in api.get("/v1/fine_tuning/jobs").json()["data"]]


def test_a_replay_gets_the_first_answer(api: httpx.Client, file: str) -> None:
    first = post(api, file, idempotency_key="k")
    assert api.post(f"{JOBS}/{first.json()['id']}/cancel").status_code == 200
    again = post(api, file, idempotency_key="k")
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len(jobs(api)) == 1
    assert post(api, file, idempotency_key="other").json()["id"] != first.json()["id"]


def test_another_body_under_the_same_key_is_refused(api: httpx.Client, file: str) -> None:
    post(api, file, idempotency_key="k")
    refused = problem(post(api, file, learning_rate=0.2, idempotency_key="k"), 422)
    assert refused["error"]["param"] == "Idempotency-Key"
    problem(post(api, file, idempotency_key=""), 422)
    problem(post(api, file, idempotency_key="x" * 256), 422)


def test_a_refused_submission_leaves_its_key_free(api: httpx.Client, file: str) -> None:
    problem(post(api, "file-nowhere", idempotency_key="k"), 422)
    assert post(api, file, idempotency_key="k").status_code == 200


def test_the_same_key_at_the_same_time_makes_one_job(api: httpx.Client, file: str) -> None:
    answers = []

    def one() -> None:
        with httpx.Client(base_url=api.base_url, timeout=30) as client:
            answers.append(post(client, file, idempotency_key="k"))

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs(api)) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert problem(answer, 409)["code"] == "in_flight"
            assert answer.headers["x-should-retry"] == "true"
        else:
            assert answer.json()["id"] == jobs(api)[0]


def test_only_a_marked_retry_finds_its_first_try(api: httpx.Client, file: str) -> None:
    first = post(api, file, x_stainless_retry_count="0").json()["id"]
    watching = {"Headway-Watching": "true"}  # a page that is open: it is not the submitter
    for path in ("/v1/fine_tuning/jobs", f"/v1/fine_tuning/jobs/{first}"):
        assert api.get(path, headers=watching).status_code == 200
    assert post(api, file, x_stainless_retry_count="1").json()["id"] == first
    assert post(api, file, x_stainless_retry_count="1", authorization="Bearer other").json()["id"] != first
    assert post(api, file, learning_rate=0.2, x_stainless_retry_count="1").json()["id"] != first
    assert post(api, file, x_stainless_retry_count="0").json()["id"] != first  # asked for again, on purpose
    assert post(api, file).json()["id"] != first
    assert post(api, file, x_stainless_retry_count="9" * 5000).json()["id"] != first


LOOKS: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "retrieved": lambda api, id: api.get(f"{JOBS}/{id}"),
    "listed": lambda api, id: api.get(JOBS),
    "events": lambda api, id: api.get(f"{JOBS}/{id}/events"),
    "cancelled": lambda api, id: api.post(f"{JOBS}/{id}/cancel"),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_retry_of_an_order_whose_like_was_read_already_is_another_order(
    api: httpx.Client, file: str, look: str
) -> None:
    """Its own first try never arrived."""
    first = post(api, file, x_stainless_retry_count="0").json()["id"]
    assert LOOKS[look](api, first).status_code == 200
    second = post(api, file, x_stainless_retry_count="1").json()["id"]
    assert second != first
    assert post(api, file, x_stainless_retry_count="2").json()["id"] == second


def test_a_replay_whose_job_was_deleted_says_so_and_gives_no_id_that_is_not_there(
    api: httpx.Client, file: str, redis_url: str
) -> None:
    first = post(api, file, idempotency_key="k").json()["id"]
    api.post(f"{JOBS}/{first}/cancel")
    api.delete(f"{JOBS}/{first}")
    gone = problem(post(api, file, idempotency_key="k"), 409)
    assert gone["code"] == "idempotency_gone"
    assert first not in json.dumps(gone)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert not [key for key in client.scan_iter() if first in key]
        (kept,) = client.scan_iter("headway:idempotency:*")
        assert client.hget(kept, "answer") == "gone"


def whole_request(client: socket.socket) -> bytes:
    """A request with its body, asking for the connection to be closed after the answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(1 << 16)
    head, _, body = received.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while found and len(body) < int(found[1]):
        body += client.recv(1 << 16)
    head = re.sub(rb"connection: [^\r]*", b"connection: close", head, flags=re.IGNORECASE)
    return head + b"\r\n\r\n" + body


@contextmanager
def swallowing_proxy(target: int) -> Iterator[tuple[int, list[bytes]]]:
    """Passes one request a connection on, and swallows the first one's answer."""
    swallowed: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, socket.create_connection(("127.0.0.1", target)) as upstream:
                    upstream.sendall(whole_request(client))
                    answer = b"".join(iter(lambda: upstream.recv(1 << 16), b""))
                    if swallowed:
                        client.sendall(answer)
                    else:
                        swallowed.append(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], swallowed
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_openai_client_whose_first_answer_was_lost_gets_the_job_of_its_first_try(
    api: httpx.Client, file: str
) -> None:
    assert api.base_url.port
    with swallowing_proxy(api.base_url.port) as (port, swallowed):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=10)
        job = client.fine_tuning.jobs.create(model="resnet18", training_file=file)
        client.close()
    assert b"200 OK" in swallowed[0]
    assert jobs(api) == [job.id]
