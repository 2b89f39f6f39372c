"""Life and readiness; the API with Redis away; the docs, which need no internet."""

from pathlib import Path

import httpx

from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api, running_valkey
from tests.drawing import shapes, zipped


def test_a_ready_service_says_so(api: httpx.Client) -> None:
    assert api.get("/healthz").json()["status"] == "ok"
    assert api.get("/readyz").json() == {
        "ready": True,
        "redis": "ok",
        "durability": "append-only file",
        "workers": 0,
    }
    assert api.get("/v1/workers").json()["data"] == []


def test_the_docs_come_with_all_that_they_need(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    assert "<title>Headway</title>" in api.get("/").text
    assert api.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_an_unknown_path_is_a_problem_like_any_other(api: httpx.Client) -> None:
    assert "/docs" in problem(api.get("/v2/files"), 404)["detail"]
    answer = api.delete("/healthz")
    assert "DELETE" in problem(answer, 405)["detail"]
    assert answer.headers["allow"] == "GET"


def test_while_redis_is_away_submissions_get_503_and_nothing_is_half_made(short_folder: Path, tmp_path: Path) -> None:
    socket_path, data = short_folder / "goes.sock", tmp_path / "valkey"
    data.mkdir()
    settings = Settings(data_dir=tmp_path, redis_url=f"unix://{socket_path}", weights="random:0", port=free_port())
    with running_api(settings) as api:
        assert api.get("/readyz").status_code == 503
        with running_valkey(socket_path, data):
            form = {"purpose": "fine-tune"}
            file = api.post("/v1/files", data=form, files={"file": ("a.zip", zipped(shapes(2)))}).json()["id"]
            kept = api.post("/v1/fine_tuning/jobs", json={"training_file": file}).json()["id"]
        answer = api.post("/v1/fine_tuning/jobs", json={"training_file": file})
        assert problem(answer, 503)["code"] == "store_unavailable"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["x-should-retry"] == "true"
        upload = api.post("/v1/files", data=form, files={"file": ("b.zip", zipped(shapes(2)))})
        assert upload.status_code == 503
        assert api.get("/healthz").status_code == 200
        with running_valkey(socket_path, data):
            assert [job["id"] for job in api.get("/v1/fine_tuning/jobs").json()["data"]] == [kept]
            assert [f["id"] for f in api.get("/v1/files").json()["data"]] == [file]
