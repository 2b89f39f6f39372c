"""What a key gives the right to, and what a tenant may have and do."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.contract.quota import Quota
from services.keysfile import Right, new_key, read_keys, revoke
from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped
from tests.jobs import JOBS
from tests.waiting import wait_until

Upload = Callable[..., httpx.Response]
ARCHIVE = zipped(shapes(2))
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n' + ARCHIVE + b"\r\n--b--\r\n"
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


@pytest.fixture
def api(settings: Settings, keys: Path) -> Iterator[httpx.Client]:
    new_key(keys, "anyone")
    more = {"port": free_port(), "api_keys_file": keys, "quota": Quota(queued_jobs=3)}
    with running_api(settings.model_copy(update=more)) as client:
        yield client


def bearer(keys: Path, tenant: str = "ann", **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {new_key(keys, tenant, **more)}"}


def submitted(api: httpx.Client, upload: Upload, headers: dict[str, str], **body: Any) -> httpx.Response:
    file = upload(api, ARCHIVE, headers=headers).json()["id"]
    return api.post(JOBS, json={"training_file": file} | body, headers=headers)


def test_a_key_gives_the_rights_that_it_names_and_no_others(api: httpx.Client, keys: Path, upload: Upload) -> None:
    reads, submits = bearer(keys, rights={Right.READ}), bearer(keys, rights={Right.READ, Right.SUBMIT})
    operates = bearer(keys, rights={Right.OPERATE})
    job = submitted(api, upload, submits).json()["id"]
    assert api.get(f"{JOBS}/{job}", headers=reads).status_code == 200
    assert api.post("/v1/stream_tokens", headers=reads).status_code == 200
    assert "the right to submit" in problem(api.post(f"{JOBS}/{job}/cancel", headers=reads), 403)["detail"]
    problem(upload(api, ARCHIVE, headers=reads), 403)
    problem(api.post("/v1/workers/w/drain", headers=submits), 403)
    problem(api.post("/v1/workers/w/drain", headers=operates), 404)
    problem(api.get(JOBS, headers=operates), 403)


def test_a_key_ends_when_it_says_and_when_it_is_revoked(api: httpx.Client, keys: Path) -> None:
    over = bearer(keys, expires_at=int(time.time()) - 1)
    assert "expired" in problem(api.get(JOBS, headers=over), 401)["detail"]
    good = bearer(keys)
    assert api.get(JOBS, headers=good).status_code == 200
    last = read_keys(keys)[-1]
    assert revoke(keys, last.id) == last
    problem(api.get(JOBS, headers=good), 401)
    audit = [json.loads(line) for line in keys.with_name("keys.jsonl.audit").read_text().splitlines()]
    assert [(line["did"], line["key"]) for line in audit[-2:]] == [("new", last.id), ("revoked", last.id)]
    assert last.id in json.loads(keys.with_name("keys.jsonl.used").read_text())


def test_a_tenant_has_as_many_jobs_waiting_as_it_may(api: httpx.Client, keys: Path, upload: Upload) -> None:
    ann, bob = bearer(keys), bearer(keys, "bob", quota=Quota(queued_jobs=1))
    for headers, most in ((ann, 3), (bob, 1)):
        jobs = [submitted(api, upload, headers).json()["id"] for _ in range(most)]
        refused = submitted(api, upload, headers)
        assert problem(refused, 429)["code"] == "quota_exceeded"
        assert int(refused.headers["retry-after"]) > 0
        assert api.post(f"{JOBS}/{jobs[0]}/cancel", headers=headers).status_code == 200
        assert submitted(api, upload, headers).status_code == 200


def test_a_tenant_submits_and_uploads_so_many_times_a_minute(api: httpx.Client, keys: Path, upload: Upload) -> None:
    ann = bearer(keys, quota=Quota(submissions_per_minute=2, uploads_per_minute=5))
    answers = [submitted(api, upload, ann) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert problem(answers[-1], 429)["code"] == "rate_limited"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].headers["x-should-retry"] == "true"
    assert [upload(api, ARCHIVE, headers=ann).status_code for _ in range(3)] == [200, 200, 429]
    assert upload(api, ARCHIVE, headers=bearer(keys, "bob")).status_code == 200


def test_a_tenant_stores_as_much_as_it_may(api: httpx.Client, keys: Path, upload: Upload) -> None:
    ann = bearer(keys, quota=Quota(stored_bytes=len(ARCHIVE) + 1_000))
    first = upload(api, ARCHIVE, headers=ann).json()["id"]
    refused = upload(api, ARCHIVE, headers=ann)
    assert str(len(ARCHIVE)) in problem(refused, 429)["detail"]
    assert api.delete(f"/v1/files/{first}", headers=ann).status_code == 200
    assert upload(api, ARCHIVE, headers=ann).status_code == 200


def test_a_tenant_has_so_many_uploads_under_way(
    settings: Settings, api: httpx.Client, keys: Path, upload: Upload
) -> None:
    ann, bob = bearer(keys, quota=Quota(uploads_at_once=1)), bearer(keys, "bob")
    sending, goes_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield FORM.partition(b"PK")[0]
        sending.set()
        goes_on.wait(20)
        yield FORM[len(FORM.partition(b"PK")[0]) :]

    headers = ann | {"Content-Type": "multipart/form-data; boundary=b"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{api.base_url}/v1/files", content=slowly(), headers=headers, timeout=30)
        assert sending.wait(20)
        wait_until(lambda: list((settings.files_dir / "ann").glob("incoming/*")))  # it has come that far
        assert problem(upload(api, ARCHIVE, headers=ann), 429)["code"] == "rate_limited"
        assert upload(api, ARCHIVE, headers=bob).status_code == 200
        goes_on.set()
        assert first.result().status_code == 200
    assert upload(api, ARCHIVE, headers=ann).status_code == 200


def test_a_tenant_that_leaves_takes_all_it_has_with_it(
    settings: Settings, api: httpx.Client, keys: Path, upload: Upload
) -> None:
    ann, bob, operator = bearer(keys), bearer(keys, "bob"), bearer(keys, "ops", rights={Right.OPERATE})
    jobs = [submitted(api, upload, ann).json()["id"] for _ in range(2)]
    kept = submitted(api, upload, bob).json()["id"]
    problem(api.delete("/v1/tenants/ann", headers=ann), 403)
    problem(api.delete("/v1/tenants/a*", headers=operator), 422)
    gone = api.delete("/v1/tenants/ann", headers=operator).json()
    assert gone == {"object": "tenant.deleted", "tenant": "ann", "jobs": 2, "files": 2, "stopping": 0}
    assert api.get(JOBS, headers=ann).json()["data"] == api.get("/v1/files", headers=ann).json()["data"] == []
    problem(api.get(f"{JOBS}/{jobs[0]}", headers=ann), 404)
    assert [path for path in (settings.files_dir / "ann").rglob("*") if path.is_file()] == [
        *(settings.files_dir / "ann" / "forgotten").iterdir()
    ]
    assert api.get(f"{JOBS}/{kept}", headers=bob).json()["status"] == "queued"
    assert len(api.get("/v1/files", headers=bob).json()["data"]) == 1


def test_a_priority_above_the_tenants_is_refused(api: httpx.Client, keys: Path, upload: Upload) -> None:
    ann = bearer(keys, quota=Quota(max_priority=3))
    assert submitted(api, upload, ann, priority=3).status_code == 200
    assert problem(submitted(api, upload, ann, priority=4), 422)["error"]["param"] == "priority"
