"""What an upload was understood as, and how to say it oneself."""

from collections.abc import Callable

import httpx

from tests.api.conftest import problem
from tests.drawing import shapes, zipped
from tests.jobs import JOBS

Upload = Callable[..., httpx.Response]


def test_the_report_of_an_upload_says_what_was_understood_and_its_answer_what_may_be_wrong(
    api: httpx.Client, upload: Upload
) -> None:
    files = {f"train/{path}": data for path, data in shapes(6).items()} | {"test/1.png": b"\x89PNG\r\n\x1a\n"}
    made = upload(api, zipped(files | {"notes.txt": b"x"})).json()
    assert made["contents"]["splits_left_out"] == ["test"]
    assert [finding["code"] for finding in made["findings"]] == ["split_without_labels"]
    report = api.get(f"/v1/files/{made['id']}/report").json()
    assert report["layout"]["train"] == "train"
    assert {(of["reason"], of["count"]) for of in report["left_out"]} == {("no picture", 1), ("test without labels", 1)}
    assert {finding["code"] for finding in report["findings"]} == {"split_without_labels", "left_out"}
    assert all(finding["severity"] in ("warning", "info") for finding in report["findings"])
    listed = next(file for file in api.get("/v1/files").json()["data"] if file["id"] == made["id"])
    assert listed["findings"] == []


def test_a_layout_is_stated_with_the_upload_or_with_the_job(api: httpx.Client, upload: Upload) -> None:
    files = {f"{where}/{path}": data for where in ("good", "bad") for path, data in shapes(3).items()}
    archive = zipped(files)
    guessed = upload(api, archive).json()
    assert guessed["contents"]["labels"] == {"train": {"bad": 6, "good": 6}}
    assert guessed["layout"] is None
    stated = upload(api, archive, fields={"layout": '{"train": "good", "ignore": ["bad"]}'}).json()
    assert stated["contents"]["labels"] == {"train": {"circle": 3, "square": 3}}
    assert api.get(f"/v1/files/{guessed['id']}").json()["contents"] == guessed["contents"]  # it keeps its reading
    body = {"training_file": guessed["id"], "layout": {"train": "good", "val": "bad"}}
    job = api.post(JOBS, json=body).json()
    assert (job["labels"], job["num_labels"], job["split"]) == (["circle", "square"], 2, 0)
    assert (job["layout"]["train"], job["layout"]["val"]) == (["good"], ["bad"])
    wrong = api.post(JOBS, json={"training_file": guessed["id"], "layout": {"train": "nowhere"}})
    assert "has no folder 'nowhere'" in problem(wrong, 422)["detail"]
    assert problem(wrong, 422)["error"]["param"] == "layout"
    misspelt = upload(api, archive, fields={"layout": '{"trian": "good"}'})
    assert problem(misspelt, 422)["error"]["param"] == "layout.trian"


def test_a_val_that_was_left_out_is_replaced_only_when_it_is_stated(api: httpx.Client, upload: Upload) -> None:
    files = {f"train/{path}": data for path, data in shapes(6).items()} | {"val/1.png": b"\x89PNG\r\n\x1a\n"}
    file = upload(api, zipped(files)).json()["id"]
    assert problem(api.post(JOBS, json={"training_file": file}), 422)["error"]["param"] == "split"
    job = api.post(JOBS, json={"training_file": file, "split": 0.2}).json()
    assert [warning["code"] for warning in job["warnings"]] == ["split_without_labels"]
    events = api.get(f"{JOBS}/{job['id']}/events").json()["data"]
    assert [event["data"]["code"] for event in events if event["level"] == "warn"] == ["split_without_labels"]


def test_a_validation_file_may_have_its_images_in_test(api: httpx.Client, upload: Upload) -> None:
    train = upload(api, zipped(shapes(6))).json()["id"]
    test = upload(api, zipped({f"test/{path}": data for path, data in shapes(2, first=50).items()})).json()["id"]
    assert problem(api.post(JOBS, json={"training_file": test}), 422)["error"]["param"] == "training_file"
    body = {"training_file": train, "validation_file": test, "early_stopping": {}}
    assert api.post(JOBS, json=body).status_code == 200
