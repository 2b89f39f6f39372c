"""Webhooks as users meet them: by OpenAI's client, and by plain HTTP."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from services.client.stack import Stack
from services.keysfile import Right, new_key
from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped
from tests.jobs import JOBS
from tests.receivers import Receiver
from tests.waiting import wait_until

HOOKS = "/v1/webhooks"
EVENTS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


@pytest.fixture
def open_api(settings: Settings) -> Iterator[httpx.Client]:
    """One that may post to loopback."""
    more = {"port": free_port(), "webhook_networks": "127.0.0.0/8"}
    with running_api(settings.model_copy(update=more)) as client:
        yield client


def test_openais_client_manages_webhooks(open_api: httpx.Client, receiver: Receiver) -> None:
    client = openai.OpenAI(base_url=f"{open_api.base_url}/v1", api_key="none")
    made = client.webhooks.create(url=receiver.url, name="ci", event_types=["fine_tuning.job.failed"])
    assert made.signing_secret.startswith("whsec_")
    assert [hook.id for hook in client.webhooks.list()] == [made.id]
    assert not hasattr(client.webhooks.retrieve(made.id), "signing_secret")
    changed = client.webhooks.update(made.id, name="cd", event_types=["fine_tuning.job.succeeded"])
    assert (changed.name, changed.url, changed.event_types) == ("cd", receiver.url, ["fine_tuning.job.succeeded"])
    assert client.webhooks.event_types.list().data == EVENTS
    tested = client.webhooks.test(made.id, event_type="fine_tuning.job.succeeded")
    assert (tested.status_code, tested.success) == (204, True)
    ((headers, body),) = receiver.messages
    event = client.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert (event.type, event.object) == ("fine_tuning.job.succeeded", "event")
    rotated = client.webhooks.rotate_secret(made.id)
    client.webhooks.test(made.id, event_type="fine_tuning.job.succeeded")
    headers, body = receiver.messages[-1]
    client.webhooks.unwrap(body, headers, secret=rotated.signing_secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(made.id)


def test_a_test_of_a_receiver_that_is_away_says_so_at_once(open_api: httpx.Client) -> None:
    hook = open_api.post(HOOKS, json={"url": f"http://127.0.0.1:{free_port()}/"}).json()
    answer = open_api.post(f"{HOOKS}/{hook['id']}/test")
    assert "did not answer" in problem(answer, 502)["detail"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "http://localhost:1/"}, "url"),
        ({"url": 1}, "url"),
        ({"url": "https://x.example/" + "x" * 2048}, "url"),
        ({"url": "https://1.1.1.1/", "event_types": []}, "event_types"),
        ({"url": "https://1.1.1.1/", "event_types": ["batch.completed"]}, "event_types"),
        ({"url": "https://1.1.1.1/", "name": "x" * 65}, "name"),
        ({"url": "https://1.1.1.1/", "secret": "mine"}, "secret"),
        ({"url": "https://1.1.1.1/", "metadata": {}}, "metadata"),
    ],
)
def test_a_wrong_field_is_named(api: httpx.Client, body: dict[str, Any], param: str) -> None:
    refused = problem(api.post(HOOKS, json=body), 422)
    assert refused["error"]["param"].startswith(param)
    assert "did you mean" not in refused["detail"]


def test_what_was_meant_is_a_field_of_this_body(api: httpx.Client) -> None:
    refused = problem(api.post(HOOKS, json={"url": "https://1.1.1.1/", "event_type": []}), 422)
    assert "did you mean event_types?" in refused["detail"]
    twice = api.post(HOOKS, json={"url": "https://1.1.1.1/", "event_types": [EVENTS[0], EVENTS[0]]})
    assert twice.json()["event_types"] == EVENTS[:1]


@pytest.mark.parametrize("mark", [{"Idempotency-Key": "k"}, {"x-stainless-retry-count": "1"}])
def test_a_retry_whose_answer_was_lost_makes_no_second_webhook(api: httpx.Client, mark: dict[str, str]) -> None:
    body = {"url": "https://1.1.1.1/"}
    first = api.post(HOOKS, json=body, headers=mark | {"x-stainless-retry-count": "0"})
    again = api.post(HOOKS, json=body, headers=mark)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert len(api.get(HOOKS).json()["data"]) == 1
    another = api.post(HOOKS, json=body, headers={"x-stainless-retry-count": "0"})
    assert another.json()["id"] != first.json()["id"]
    if "Idempotency-Key" in mark:
        problem(api.post(HOOKS, json=body | {"name": "other"}, headers=mark), 422)
        api.post(f"{HOOKS}/{first.json()['id']}/rotate_secret")  # the secret of the answer is no more
        assert problem(api.post(HOOKS, json=body, headers=mark), 409)["code"] == "idempotency_gone"
        api.delete(f"{HOOKS}/{first.json()['id']}")
        assert problem(api.post(HOOKS, json=body, headers=mark), 409)["code"] == "idempotency_gone"


def test_a_secret_is_shown_once(api: httpx.Client) -> None:
    made = api.post(HOOKS, json={"url": "https://1.1.1.1/"}).json()
    assert made["event_types"] == EVENTS
    shown = [
        api.get(HOOKS).text,
        api.get(f"{HOOKS}/{made['id']}").text,
        api.post(f"{HOOKS}/{made['id']}", json={}).text,
    ]
    secret = made["signing_secret"]
    assert all(secret not in text and made["signing_secret_hint"] in text for text in shown)
    assert secret.endswith(made["signing_secret_hint"][-4:])


def test_tenants_do_not_see_each_others(settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    ann, ben = ({"Authorization": f"Bearer {new_key(keys, name)}"} for name in ("ann", "ben"))
    reader = {"Authorization": f"Bearer {new_key(keys, 'ann', rights={Right.READ})}"}
    with running_api(settings.model_copy(update={"port": free_port(), "api_keys_file": keys})) as api:
        problem(api.post(HOOKS, json={"url": "https://1.1.1.1/"}, headers=reader), 403)
        id = api.post(HOOKS, json={"url": "https://1.1.1.1/"}, headers=ann).json()["id"]
        assert api.get(HOOKS, headers=ben).json()["data"] == []
        for method in ("GET", "DELETE", "POST"):
            problem(api.request(method, f"{HOOKS}/{id}", headers=ben, json={}), 404)
        assert [hook["id"] for hook in api.get(HOOKS, headers=reader).json()["data"]] == [id]


def test_pages_go_on_where_they_ended(api: httpx.Client) -> None:
    ids = [api.post(HOOKS, json={"url": f"https://1.1.1.1/{i}"}).json()["id"] for i in range(3)]
    first = api.get(HOOKS, params={"limit": 2}).json()
    assert ([hook["id"] for hook in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    rest = api.get(HOOKS, params={"after": first["last_id"]}).json()
    assert ([hook["id"] for hook in rest["data"]], rest["has_more"]) == (ids[:1], False)
    for after in ("garbage", "", ids[0]):
        wrong = api.get(f"{HOOKS}/{ids[0]}/deliveries", params={"after": after})
        assert problem(wrong, 422)["error"]["param"] == "after"
    assert problem(api.get(f"{HOOKS}/{ids[0]}/deliveries", params={"status": "lost"}), 422)
    for _ in range(17):
        assert api.post(HOOKS, json={"url": "https://1.1.1.1/"}).is_success
    assert "delete one" in problem(api.post(HOOKS, json={"url": "https://1.1.1.1/"}), 429)["detail"]


def test_a_job_that_ends_is_told_and_what_became_of_it_can_be_seen(
    the_stack: Stack, service: httpx.Client, upload: Callable[..., httpx.Response], receiver: Receiver
) -> None:
    """By the reaper of a whole stack."""
    file = upload(service, zipped(shapes(2))).json()["id"]
    receiver.answers = [410]
    hook = service.post(HOOKS, json={"url": receiver.url}).json()
    job = service.post(JOBS, json={"training_file": file, "n_epochs": 1}).json()["id"]

    def status() -> str | None:
        found = service.get(f"{HOOKS}/{hook['id']}/deliveries").json()["data"]
        return found[0]["status"] if found else None

    wait_until(lambda: status() == "failed")
    (delivery,) = service.get(f"{HOOKS}/{hook['id']}/deliveries").json()["data"]
    assert (delivery["job"], delivery["event"]) == (job, "fine_tuning.job.succeeded")
    assert delivery["last_attempt"]["status_code"] == 410
    again = service.post(f"{HOOKS}/{hook['id']}/deliveries/{delivery['id']}/resend")
    assert again.json()["status"] == "pending"
    wait_until(lambda: status() == "delivered")
    assert json.loads(receiver.messages[-1][1])["data"] == {"id": job}
    assert receiver.ids == [delivery["id"]] * 2
    problem(service.post(f"{HOOKS}/{hook['id']}/deliveries/whd-x/resend"), 404)
    assert service.post(f"{HOOKS}/{hook['id']}/deliveries/resend").json()["resent"] == []
    receiver.answers = [410]
    service.post(f"{HOOKS}/{hook['id']}/deliveries/{delivery['id']}/resend")
    wait_until(lambda: status() == "failed")
    failed = service.get(f"{HOOKS}/{hook['id']}/deliveries", params={"status": "failed"}).json()["data"]
    assert [each["id"] for each in failed] == [delivery["id"]]
    assert service.post(f"{HOOKS}/{hook['id']}/deliveries/resend").json()["resent"] == [delivery["id"]]
    wait_until(lambda: status() == "delivered")
    service.delete(f"{HOOKS}/{hook['id']}")
