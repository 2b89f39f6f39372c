"""Jobs as the API takes them: what is echoed, what is refused and by which name; no worker lives here."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis

from services.store import keys
from tests.api.conftest import problem
from tests.drawing import shapes, zipped
from tests.jobs import JOBS

Submit = Callable[..., httpx.Response]
Upload = Callable[..., httpx.Response]


def test_a_job_is_accepted_resolved_and_in_line(submit: Submit, file: str) -> None:
    job = submit(learning_rate=0.05, num_labels=2, suffix="shapes", metadata={"team": "a"}).json()
    assert (job["object"], job["status"], job["model"]) == ("fine_tuning.job", "queued", "resnet18")
    assert (job["training_file"], job["num_labels"], job["labels"]) == (file, 2, ["circle", "square"])
    assert job["asked"] == {
        "training_file": file,
        "learning_rate": 0.05,
        "num_labels": 2,
        "suffix": "shapes",
        "metadata": {"team": "a"},
    }
    assert job["resolved_hyperparameters"]["learning_rate"] == 0.05
    assert job["hyperparameters"] == {"n_epochs": 10, "batch_size": 64, "learning_rate_multiplier": 5.0}
    assert job["queue"] == {"position": 1, "ahead": 0}
    assert job["allowed_actions"] == ["cancel", "pause"]
    assert job["status_reason"]["code"] == "queued"
    assert "No worker is running" in job["status_reason"]["message"]
    assert (job["weights"], job["precision"], job["split"], job["seed"]) == ("random:0", "auto", 0.2, 0)


def test_the_list_is_newest_first_and_pages(api: httpx.Client, submit: Submit) -> None:
    ids = [submit().json()["id"] for _ in range(3)]
    page = api.get("/v1/fine_tuning/jobs", params={"limit": 2}).json()
    assert ([job["id"] for job in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = api.get("/v1/fine_tuning/jobs", params={"after": page["data"][-1]["id"]}).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[:1], False)


def test_the_place_in_line_is_told(api: httpx.Client, submit: Submit) -> None:
    submit()
    job = submit().json()
    assert job["queue"] == {"position": 2, "ahead": 1}
    submit(priority=9)
    assert api.get(f"/v1/fine_tuning/jobs/{job['id']}").json()["queue"]["ahead"] == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"learning_rate": -1}, "learning_rate"),
        ({"momentum": 1}, "momentum"),
        ({"learning_rat": 0.1}, "learning_rat"),
        ({"learning_rate_multiplier": 5e-324}, "learning_rate_multiplier"),
        ({"learning-rate": 0.1}, "learning-rate"),
        ({"num_labels": 1}, "num_labels"),
        ({"num_labels": "many"}, "num_labels"),
        ({"sweep": {}}, "sweep"),
        ({"training_file": "file-nowhere"}, "training_file"),
        ({"training_file": None}, "training_file"),
        ({"validation_file": "file-nowhere"}, "validation_file"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": -1}}}},
            "method.supervised.hyperparameters.batch_size",
        ),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"n_epochs": 4, "hyperparameters": {"n_epochs": 3}}, "n_epochs"),
        ({"validation_file": "file-nowhere", "split": 0.3}, "split"),
        ({"early_stopping": {}, "split": 0}, "early_stopping"),
        ({"model": "gpt-4o-mini"}, "model"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(submit: Submit, body: dict[str, Any], param: str) -> None:
    refused = problem(submit(**body), 422)
    assert refused["error"]["param"] == param
    assert param in refused["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(api: httpx.Client, file: str, number: str) -> None:
    body = f'{{"training_file": "{file}", "learning_rate": {number}}}'
    answer = api.post("/v1/fine_tuning/jobs", content=body, headers={"content-type": "application/json"})
    assert problem(answer, 422)["error"]["param"] == "learning_rate"


@pytest.mark.parametrize("body", ["[]", "null", "1", "", '{"training_file": "x"}'])
def test_a_body_that_is_no_object_says_what_to_send(api: httpx.Client, body: str) -> None:
    answer = api.post("/v1/fine_tuning/jobs", content=body, headers={"content-type": "text/plain"})
    assert "application/json" in problem(answer, 422)["detail"]


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000, b'{"n_epochs": ' + b"9" * 5000 + b"}"])
def test_a_body_that_cannot_be_read_is_400(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/v1/fine_tuning/jobs", content=body, headers={"content-type": "application/json"})
    assert "JSON" in problem(answer, 400)["detail"]


@pytest.mark.parametrize("path", ["files", "fine_tuning/jobs", "fine_tuning/jobs/{job}/checkpoints"])
def test_a_cursor_that_is_no_id_is_refused_by_its_name(api: httpx.Client, submit: Submit, path: str) -> None:
    job = submit().json()["id"]
    for after in ("", "zzz"):
        refused = problem(api.get(f"/v1/{path.format(job=job)}", params={"after": after}), 422)
        assert refused["error"]["param"] == "after"


def test_openais_multiplier_is_echoed_where_it_was_asked(submit: Submit) -> None:
    asked = {"learning_rate_multiplier": 1.5}
    job = submit(method={"type": "supervised", "supervised": {"hyperparameters": asked}}).json()
    assert job["method"]["supervised"]["hyperparameters"]["learning_rate_multiplier"] == 1.5
    assert job["resolved_hyperparameters"]["learning_rate"] == pytest.approx(0.015)


def test_a_body_that_is_no_json_is_400(api: httpx.Client) -> None:
    answer = api.post("/v1/fine_tuning/jobs", content="{", headers={"content-type": "application/json"})
    assert "JSON" in problem(answer, 400)["detail"]


def test_too_few_labels_are_refused_with_both_numbers_and_too_many_are_a_warning(
    api: httpx.Client, upload: Upload
) -> None:
    file = upload(api, zipped(shapes(2, ("circle", "square", "cross")))).json()["id"]
    refused = problem(api.post("/v1/fine_tuning/jobs", json={"training_file": file, "num_labels": 2}), 422)
    assert refused["error"]["param"] == "num_labels"
    assert "2" in refused["detail"]
    assert "3" in refused["detail"]
    job = api.post("/v1/fine_tuning/jobs", json={"training_file": file, "num_labels": 7}).json()
    events = api.get(f"/v1/fine_tuning/jobs/{job['id']}/events").json()["data"]
    assert events[0]["level"] == "warn"
    assert "7" in events[0]["message"]
    assert "3" in events[0]["message"]


def test_one_label_only_is_refused(api: httpx.Client, upload: Upload) -> None:
    file = upload(api, zipped(shapes(3, ("circle",)))).json()["id"]
    refused = problem(api.post("/v1/fine_tuning/jobs", json={"training_file": file}), 422)
    assert refused["error"]["param"] == "training_file"
    assert "at least two" in refused["detail"]


def test_held_out_labels_that_training_never_sees_are_refused(api: httpx.Client, file: str, upload: Upload) -> None:
    other = upload(api, zipped(shapes(1, ("circle", "cross")))).json()["id"]
    body = {"training_file": file, "validation_file": other}
    refused = problem(api.post("/v1/fine_tuning/jobs", json=body), 422)
    assert refused["error"]["param"] == "validation_file"
    assert "cross" in refused["detail"]


def test_a_queued_job_is_cancelled_at_once_and_then_refuses_more(api: httpx.Client, submit: Submit) -> None:
    id = submit().json()["id"]
    job = api.post(f"/v1/fine_tuning/jobs/{id}/cancel").json()
    assert (job["status"], job["queue"], job["allowed_actions"]) == ("cancelled", None, ["delete"])
    assert job["finished_at"] is not None
    answer = api.post(f"/v1/fine_tuning/jobs/{id}/cancel")
    refused = problem(answer, 409)
    assert (refused["current_status"], refused["allowed_actions"]) == ("cancelled", ["delete"])
    assert answer.headers["x-should-retry"] == "false"


def test_an_ended_job_is_deleted_and_one_that_is_not_is_kept(api: httpx.Client, submit: Submit) -> None:
    id = submit().json()["id"]
    assert problem(api.delete(f"/v1/fine_tuning/jobs/{id}"), 409)["current_status"] == "queued"
    api.post(f"/v1/fine_tuning/jobs/{id}/cancel")
    assert api.delete(f"/v1/fine_tuning/jobs/{id}").json() == {"id": id, "object": "fine_tuning.job", "deleted": True}
    problem(api.get(f"/v1/fine_tuning/jobs/{id}"), 404)
    assert api.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_a_queued_job_is_paused_and_resumed(api: httpx.Client, submit: Submit) -> None:
    id = submit().json()["id"]
    assert api.post(f"/v1/fine_tuning/jobs/{id}/pause").json()["status"] == "paused"
    assert api.post(f"/v1/fine_tuning/jobs/{id}/resume").json()["status"] == "queued"


def test_a_job_that_is_not_there_is_404_whatever_its_name(api: httpx.Client, submit: Submit) -> None:
    real = submit().json()["id"]
    for id in ("ftjob-x", "ftjob-00000000000000000000000000", f"{real}:events", "running"):
        for path in ("", "/events", "/metrics", "/checkpoints"):
            problem(api.get(f"/v1/fine_tuning/jobs/{id}{path}"), 404)
        problem(api.post(f"/v1/fine_tuning/jobs/{id}/cancel"), 404)
    ulid = real.removeprefix("ftjob-")
    for checkpoint in ("ftckpt-x", f"ftckpt-{ulid}-0", f"ftckpt-{ulid}-{'9' * 5000}", f"ftckpt-{ulid}-²"):
        problem(api.get(f"/v1/fine_tuning/jobs/{real}/checkpoints/{checkpoint}/content"), 404)
    problem(api.get(f"/v1/models/ft:resnet18::{real.removeprefix('ftjob-')}/content"), 404)


def test_a_job_makes_one_hint_that_names_no_job(submit: Submit, redis_url: str) -> None:
    id = submit().json()["id"]
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        messages = client.lrange(keys.train_queue("any"), 0, -1)
    assert len(messages) == 1
    assert id not in messages[0]
    assert json.loads(messages[0])["headers"]["task"] == "headway.train"


def test_a_full_redis_answers_507_and_keeps_what_it_has(api: httpx.Client, submit: Submit, redis_url: str) -> None:
    kept = submit().json()["id"]
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "1mb")
        try:
            refused = problem(submit(), 507)
        finally:
            client.config_set("maxmemory", "0")
    assert "maxmemory" in refused["detail"]
    assert [job["id"] for job in api.get("/v1/fine_tuning/jobs").json()["data"]] == [kept]


def test_an_empty_job_has_empty_metrics_and_no_checkpoints(api: httpx.Client, submit: Submit) -> None:
    id = submit().json()["id"]
    metrics = api.get(f"/v1/fine_tuning/jobs/{id}/metrics").json()
    assert metrics["series"]["train_loss"] == {"step": [], "value": []}
    csv = api.get(f"/v1/fine_tuning/jobs/{id}/metrics", params={"format": "csv"})
    assert csv.text.strip() == "series,step,value"
    assert api.get(f"/v1/fine_tuning/jobs/{id}/checkpoints").json()["data"] == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"split": 0.0}, "validation"),
        ({"num_labels": 10_000}, "outputs"),
    ],
)
def test_a_sweep_that_could_not_be_judged_or_kept_is_refused(
    api: httpx.Client, file: str, more: dict[str, Any], says: str
) -> None:
    body = {"training_file": file, "sweep": {"momentum": [i / 10 for i in range(10)]}} | more
    error = problem(api.post("/v1/fine_tuning/jobs", json=body), 422)["error"]
    assert error["param"] == "sweep"
    assert says in error["message"]


def test_a_job_of_very_many_steps_keeps_each_kth_and_says_so(api: httpx.Client, file: str) -> None:
    sweep = {"momentum": [i / 10 for i in range(10)]}
    body = {"training_file": file, "n_epochs": 100_000, "batch_size": 1, "sweep": sweep}
    id = api.post(JOBS, json=body).json()["id"]
    events = api.get(f"{JOBS}/{id}/events").json()["data"]
    assert any("every 12th is told and kept" in event["message"] for event in events)  # 12 million points
    assert api.get(f"{JOBS}/{id}/metrics").json()["every_step"] == 12


@pytest.mark.parametrize(("more", "keep"), [({"num_labels": 10_000}, 4), ({"num_labels": 1_000}, 5)])
def test_fewer_checkpoints_than_the_default_are_kept_where_they_are_large(
    api: httpx.Client, file: str, more: dict[str, Any], keep: int
) -> None:
    assert api.post(JOBS, json={"training_file": file} | more).json()["checkpoints"]["keep"] == keep


def test_more_checkpoints_than_fit_are_refused(api: httpx.Client, file: str) -> None:
    body = {"training_file": file, "num_labels": 10_000, "checkpoints": {"keep": 100}}
    error = problem(api.post(JOBS, json=body), 422)["error"]
    assert (error["param"], "keep 4 at most" in error["message"]) == ("checkpoints.keep", True)


def test_labels_lie_with_their_file_and_lists_leave_them_out(api: httpx.Client, upload: Upload, redis_url: str) -> None:
    names = [f"{i:05}-{'x' * 40}" for i in range(2_000)]
    file = upload(api, zipped({f"{name}/1.png": b"x" for name in names})).json()
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("memory")["used_memory"]
        jobs = [api.post(JOBS, json={"training_file": file["id"]}).json() for _ in range(5)]
        assert client.info("memory")["used_memory"] - before < 5 * 20_000
    assert [(job["num_labels"], job["labels"]) for job in jobs] == [(2_000, None)] * 5
    assert len(api.get(JOBS).content) < 5 * 10_000
    assert len(api.get("/v1/files").content) < 10_000
    assert sorted(api.get(f"/v1/files/{file['id']}").json()["contents"]["labels"]["train"]) == names
