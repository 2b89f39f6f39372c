"""Pages of other sites, a proxy's path before ours, streams without a key, and downloads that are asked for again."""

import json
from collections.abc import Callable, Iterator
from itertools import islice

import httpx
import pytest

from services.keysfile import new_key
from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped
from tests.jobs import JOBS

Upload = Callable[..., httpx.Response]
PAGE = "http://localhost:3000"


@pytest.fixture
def invited(settings: Settings) -> Iterator[httpx.Client]:
    """An API without keys that a page of another origin may call, behind a path."""
    more = {"port": free_port(), "cors_origins": f"{PAGE}, https://lab.example", "root_path": "/headway"}
    with running_api(settings.model_copy(update=more)) as client:
        yield client


def test_a_page_of_an_origin_that_is_named_may_call(invited: httpx.Client) -> None:
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    asked = invited.options(JOBS, headers=asks)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == PAGE
    answer = invited.get(JOBS, headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    refused = invited.get(JOBS, headers={"Origin": "https://evil.example"})
    assert "HEADWAY_CORS_ORIGINS" in problem(refused, 403)["detail"]
    assert "access-control-allow-origin" not in refused.headers
    assert problem(invited.get(f"{JOBS}/ftjob-0", headers={"Origin": PAGE}), 404)


def test_behind_a_path_the_docs_ask_for_what_lies_there(invited: httpx.Client) -> None:
    page = invited.get("/docs").text
    assert "url: '/headway/openapi.json'" in page
    assert "/headway/static-offline-docs/swagger-ui-bundle.js" in page
    assert "<title>Headway</title>" in invited.get("/").text
    assert invited.get("/dashboard/js/main.js").headers["content-type"].startswith("text/javascript")
    for prefix in ("", "/headway"):  # whether or not the proxy takes it off
        assert invited.get(f"{prefix}/openapi.json").status_code == 200
        assert invited.get(f"{prefix}{JOBS}").status_code == 200
        assert invited.get(f"{prefix}/static-offline-docs/swagger-ui.css").status_code == 200


def test_a_stream_opens_by_a_token_that_opens_nothing_else(settings: Settings, upload: Upload) -> None:
    file = settings.data_dir / "keys.jsonl"
    ann, bob = ({"Authorization": f"Bearer {new_key(file, tenant)}"} for tenant in ("ann", "bob"))
    scaled = settings.model_copy(update={"port": free_port(), "api_keys_file": file, "time_scale": 0.02})
    with running_api(scaled) as api:
        training = upload(api, zipped(shapes(2)), headers=ann).json()["id"]
        job = api.post(JOBS, json={"training_file": training}, headers=ann).json()["id"]
        problem(api.post("/v1/stream_tokens"), 401)
        token = api.post("/v1/stream_tokens", headers=ann).json()["token"]
        given = {"stream": "true", "stream_token": token}
        with api.stream("GET", f"{JOBS}/{job}/events", params=given) as stream:
            assert stream.status_code == 200
            assert "Job accepted" in next(line for line in stream.iter_lines() if line.startswith("data:"))
        for path in (JOBS, f"{JOBS}/{job}", f"/v1/files/{training}/content"):
            problem(api.get(path, params=given), 401)
        problem(api.post(f"{JOBS}/{job}/cancel", params=given), 401)
        other = api.post("/v1/stream_tokens", headers=bob).json()["token"]
        problem(api.get(f"{JOBS}/{job}/events", params=given | {"stream_token": other}), 404)
        problem(api.get(f"{JOBS}/{job}/events", params=given | {"stream_token": "st-guessed"}), 401)

        def first_of_all(tenant: dict[str, str]) -> str:
            """Which job the tenant's first event is of."""
            token = api.post("/v1/stream_tokens", headers=tenant).json()["token"]
            params = {"stream_token": token, "last_event_id": "0-1"}
            with api.stream("GET", "/v1/events", params=params) as stream:
                found = [line for line in islice(stream.iter_lines(), 8) if line.startswith("data:")]
                return str(json.loads(found[-1].removeprefix("data:")).get("fine_tuning_job_id"))

        assert first_of_all(ann) == job
        bobs = upload(api, zipped(shapes(2)), headers=bob).json()["id"]
        bobs_job = api.post(JOBS, json={"training_file": bobs}, headers=bob).json()["id"]
        assert first_of_all(bob) == bobs_job


def test_an_address_with_a_slash_too_many_leads_nowhere(api: httpx.Client) -> None:
    problem(api.get("/v1/files/", follow_redirects=False), 404)


@pytest.mark.parametrize("after", ["0", "0-0", "0-00", "00-0", "000"])
def test_nothing_comes_before_the_first_event_however_it_is_spelled(
    api: httpx.Client, submit: Callable[..., httpx.Response], after: str
) -> None:
    answer = api.get(f"{JOBS}/{submit().json()['id']}/events", params={"after": after})
    assert (answer.status_code, answer.json()["data"]) == (200, [])


def test_a_download_that_is_known_already_is_not_sent_again(api: httpx.Client, file: str) -> None:
    whole = api.get(f"/v1/files/{file}/content")
    known = api.get(f"/v1/files/{file}/content", headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    part = api.get(f"/v1/files/{file}/content", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    for wrong in ("bytes=abc", "bytes=5-2", "lines=1-2"):
        problem(api.get(f"/v1/files/{file}/content", headers={"Range": wrong}), 400)
