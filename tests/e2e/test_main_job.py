"""The whole way of a job: the stock openai client, the API, Celery, Redis, a supervisor, a trainer, a model."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import torch
from httpx_sse import connect_sse
from safetensors.torch import load
from torchvision.models import resnet18

from services.client import stack
from services.client.stack import Stack
from services.settings import Settings
from tests.conftest import free_port
from tests.drawing import shapes, zipped
from tests.jobs import JOBS, Upload, ended, final_events, look, running_long, submitted, train_loss
from tests.waiting import wait_until
from workers.vision.images import normalised, pixels


@pytest.fixture(scope="session")
def openai_client(the_stack: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{the_stack.url}/v1", api_key="none")


@pytest.mark.slow
def test_the_openai_client_trains_an_image_classifier_unchanged(
    openai_client: openai.OpenAI, service: httpx.Client
) -> None:
    images = shapes(12)
    file = openai_client.files.create(file=("shapes.zip", zipped(images)), purpose="fine-tune")
    job = openai_client.fine_tuning.jobs.create(
        model="resnet18",
        training_file=file.id,
        suffix="shapes",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 8, "batch_size": 4}}},
        extra_body={"feature_scaling": "standard"},
    )
    assert job.status == "queued"
    wait_until(lambda: openai_client.fine_tuning.jobs.retrieve(job.id).status == "succeeded", seconds=90)
    done = openai_client.fine_tuning.jobs.retrieve(job.id)
    assert done.fine_tuned_model == f"ft:resnet18:shapes:{job.id.removeprefix('ftjob-')}"
    assert done.hyperparameters.n_epochs == 8
    assert job.id in [j.id for j in openai_client.fine_tuning.jobs.list()]

    events = list(openai_client.fine_tuning.jobs.list_events(job.id, limit=5))  # pages by itself
    assert events[-1].message.startswith("Job accepted")
    assert events[0].message.startswith(f"Model {done.fine_tuned_model} is ready")
    checkpoints = list(openai_client.fine_tuning.jobs.checkpoints.list(job.id))
    assert checkpoints[-1].step_number == 0
    assert checkpoints[0].step_number == 8 * 5
    content = service.get(f"{JOBS}/{job.id}/checkpoints/{checkpoints[0].id}/content").content
    assert load(content)["fc.weight"].shape == (2, 512)

    assert_predicts_like_its_evaluation(service, job.id, images)


def assert_predicts_like_its_evaluation(service: httpx.Client, job: str, images: dict[str, bytes]) -> None:
    """The model loads into plain torchvision and predicts well on what it was trained on."""
    record = service.get(f"{JOBS}/{job}").json()
    content = service.get(f"/v1/models/{record['fine_tuned_model']}/content", params={"format": "pt"}).content
    model = resnet18(num_classes=record["num_labels"])
    model.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
    paths = sorted(images)
    with torch.inference_mode():
        predicted = model.eval()(normalised(torch.stack([pixels(images[path]) for path in paths]))).argmax(1).tolist()
    right = sum(record["labels"][p] == path.split("/")[0] for p, path in zip(predicted, paths, strict=True))
    assert right / len(paths) >= 0.8


def test_each_held_out_image_is_judged_the_worst_first(service: httpx.Client, upload: Upload) -> None:
    images = shapes(30)
    file = upload(service, zipped(images)).json()["id"]
    job = service.post(JOBS, json={"training_file": file, "n_epochs": 2, "split": 0.3, "seed": 3}).json()["id"]
    done = ended(service, job)
    judged, after = [], None
    while True:
        page = service.get(f"{JOBS}/{job}/evaluation/images", params={"limit": 7} | ({"after": after} if after else {}))
        judged += page.json()["data"]
        if not page.json()["has_more"]:
            break
        after = page.json()["last_id"]
    evaluation = done["evaluation"]
    assert len({image["path"] for image in judged} & set(images)) == len(judged) == evaluation["images"]
    losses = [image["loss"] for image in judged]
    assert losses == sorted(losses, reverse=True)
    assert sum(losses) / len(losses) == pytest.approx(evaluation["loss"], abs=1e-5)
    for image in judged:
        assert image["path"].startswith(image["label"])
        assert image["file"] == file
    labels = [score["label"] for score in evaluation["labels"]]
    for row, label in enumerate(labels):
        for column, predicted in enumerate(labels):
            pair = {"label": label, "predicted": predicted, "limit": 100}
            found = service.get(f"{JOBS}/{job}/evaluation/images", params=pair).json()["data"]
            assert len(found) == evaluation["confusion"][row][column]
    wrong = service.get(f"{JOBS}/{job}/evaluation/images", params={"wrong": True, "limit": 100}).json()["data"]
    assert [image["id"] for image in wrong] == [i["id"] for i in judged if i["label"] != i["predicted"]]
    probability = judged[-1]["probability"]
    content = images[judged[-1]["path"]]
    form = {"model": done["fine_tuned_model"]}
    answer = service.post("/v1/predictions", data=form, files={"image": ("a.png", content)}).json()
    best = answer["data"][0]["labels"][0]
    assert (best["label"], best["probability"]) == (judged[-1]["predicted"], pytest.approx(probability, abs=1e-3))


def test_the_stream_the_list_and_the_metrics_tell_the_same_losses(service: httpx.Client, upload: Upload) -> None:
    job = submitted(service, upload, shapes(6), n_epochs=30, learning_rate=1e-3, batch_size=4)
    events = []
    with connect_sse(service, "GET", f"{JOBS}/{job}/events") as source:
        for event in source.iter_sse():
            events.append(event)
    assert events[-1].event == "done"
    series = [event.json()["data"].get("series") or {} for event in events[:-1]]
    steps = [step for part in series for step in part.get("step", [])]
    losses = [loss for part in series for loss in part.get("train_loss", [])]
    told = train_loss(service, job)
    assert steps == told["step"] == list(range(1, 91))
    assert losses == pytest.approx(told["value"], rel=1e-6)  # fp32, as the series keeps them
    done = service.get(f"{JOBS}/{job}").json()
    assert done["progress"]["percent"] == 100
    assert done["usage"]["device_seconds"] > 0
    assert len(service.get(f"{JOBS}/{job}/metrics").json()["series"]["val_accuracy"]["step"]) == 30
    assert final_events(service, job) == [done["status_reason"]["message"]]


def test_the_model_can_be_had_in_the_formats_that_were_asked_for(service: httpx.Client, upload: Upload) -> None:
    job = submitted(service, upload, shapes(6), n_epochs=1, export=[])
    model = ended(service, job)["fine_tuned_model"]
    head = service.get(f"/v1/models/{model}/content", params={"format": "safetensors"})
    assert load(head.content)["fc.bias"].shape == (2,)
    refused = service.get(f"/v1/models/{model}/content")
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "format"


def test_a_running_job_is_cancelled_within_two_seconds_and_keeps_its_last_checkpoint(
    service: httpx.Client, upload: Upload
) -> None:
    job = running_long(service, upload)
    asked_at = time.monotonic()
    assert service.post(f"{JOBS}/{job}/cancel").json()["status"] in ("cancelling", "cancelled")
    cancelled = ended(service, job)
    assert time.monotonic() - asked_at < 2.0
    assert cancelled["status"] == "cancelled"
    assert service.get(f"{JOBS}/{job}/checkpoints").json()["data"]
    assert final_events(service, job) == ["Cancelled on request."]


def test_a_paused_job_goes_on_where_it_stopped_and_shows_no_step_twice(service: httpx.Client, upload: Upload) -> None:
    job = running_long(service, upload)
    service.post(f"{JOBS}/{job}/pause")
    wait_until(lambda: service.get(f"{JOBS}/{job}").json()["status"] == "paused", seconds=10)
    before = train_loss(service, job)["step"]
    service.post(f"{JOBS}/{job}/resume")
    wait_until(lambda: len(train_loss(service, job)["step"]) > len(before) + 50, seconds=60)
    service.post(f"{JOBS}/{job}/cancel")
    ended(service, job)
    steps = train_loss(service, job)["step"]
    assert steps == list(range(1, len(steps) + 1))
    attempts = service.get(f"{JOBS}/{job}").json()["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2]


def test_a_job_over_its_time_limit_fails_and_says_so(service: httpx.Client, upload: Upload) -> None:
    job = submitted(service, upload, shapes(6), n_epochs=100_000, batch_size=2, limits={"max_seconds": 1})
    failed = ended(service, job)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "time_limit"
    assert "max_seconds = 1" in failed["error"]["message"]


def test_a_job_whose_weights_cannot_be_had_fails_and_says_how_to_provide_them(
    service: httpx.Client, upload: Upload, the_stack: Stack
) -> None:
    job = submitted(service, upload, shapes(3), weights="default")
    failed = ended(service, job)
    if failed["status"] == "succeeded":
        pytest.fail("this machine has the pretrained weights: the test needs one that has not")
    assert failed["error"]["code"] == "weights_unavailable"
    assert failed["status_reason"]["retryable"]
    assert "HEADWAY_WEIGHTS=" in failed["error"]["message"]
    assert str(Path(the_stack.settings.data_dir)) not in failed["error"]["message"]


def test_unreadable_images_are_a_warning_and_too_many_a_failure(service: httpx.Client, upload: Upload) -> None:
    job = submitted(service, upload, shapes(12) | {"circle/page.png": b"<html>"}, n_epochs=1)
    assert ended(service, job)["status"] == "succeeded"
    events = service.get(f"{JOBS}/{job}/events", params={"limit": 100}).json()["data"]
    warnings = {event["data"]["code"]: event["message"] for event in events if event["level"] == "warn"}
    assert "circle/page.png" in warnings["unreadable_images"]
    assert {"unreadable_images", "no_pictures"} <= {warning["code"] for warning in look(service, job)["warnings"]}
    broken = {f"circle/page-{number}.png": b"<html>%d" % number for number in range(2)}
    job = submitted(service, upload, shapes(3) | broken)
    assert ended(service, job)["error"]["code"] == "data_unreadable"


def test_a_sweep_shows_every_trial_and_is_its_best_job_alone(service: httpx.Client, upload: Upload) -> None:
    sweep = {"learning_rate": [1e-4, 1e-2], "momentum": [0.0, 0.9]}
    common = {"n_epochs": 10, "batch_size": 4, "feature_scaling": "standard", "precision": "fp32"}
    job = submitted(service, upload, shapes(6), sweep=sweep, **common)
    events = []
    with connect_sse(service, "GET", f"{JOBS}/{job}/events") as source:
        events = [event.json()["data"] for event in source.iter_sse() if event.event == "message"]
    done = service.get(f"{JOBS}/{job}").json()
    assert done["status"] == "succeeded"
    assert [trial["trial"] for trial in done["trials"]] == [0, 1, 2, 3]
    assert done["sweep"] == sweep | {"weight_decay": None, "batch_size": None}
    best = done["trials"][done["best_trial"]]
    assert best["metrics"]["val_loss"] == min(trial["metrics"]["val_loss"] for trial in done["trials"])
    assert all(trial["evaluation"]["accuracy"] is not None for trial in done["trials"])
    assert done["evaluation"]["accuracy"] == best["evaluation"]["accuracy"]

    metrics = service.get(f"{JOBS}/{job}/metrics").json()
    assert metrics["series"] == metrics["trials"][done["best_trial"]]["series"]
    streamed: dict[int, list[int]] = {}
    for data in events:
        for trial in data.get("trials", []):
            streamed.setdefault(trial["trial"], []).extend(trial.get("series", {"step": []})["step"])
    for trial in metrics["trials"]:
        assert trial["series"]["train_loss"]["step"] == streamed[trial["trial"]] == list(range(1, 31))
        assert len(trial["series"]["val_loss"]["step"]) == 10
    rows = service.get(f"{JOBS}/{job}/metrics", params={"format": "csv"}).text.splitlines()
    assert rows[0] == "series,step,value,trial"
    assert len(rows) == 1 + 4 * (30 + 2 * 10)

    chosen = {name: best["hyperparameters"][name] for name in sweep}
    alone = submitted(service, upload, shapes(6), **common, **chosen)
    ended(service, alone)
    assert train_loss(service, alone)["value"] == pytest.approx(metrics["series"]["train_loss"]["value"], abs=1e-5)


def test_the_features_of_known_images_are_counted_as_saved(service: httpx.Client, upload: Upload) -> None:
    files = shapes(4, first=1300)
    usage = [ended(service, submitted(service, upload, files, n_epochs=1))["usage"]["features"] for _ in range(2)]
    assert [(of["hits"], of["misses"]) for of in usage] == [(0, 8), (8, 0)]
    assert usage[1]["seconds_saved"] > 0
    lines = dict(line.rsplit(" ", 1) for line in service.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(lines['headway_features_total{result="hit"}']) >= 8
    assert float(lines['headway_features_total{result="miss"}']) >= 8
    assert float(lines["headway_feature_seconds_saved_total"]) > 0


def test_the_precision_is_resolved_by_the_first_claim_and_stands_in_the_job(
    service: httpx.Client, upload: Upload
) -> None:
    (report,) = service.get("/v1/workers").json()["data"][0]["preflight"]
    jobs = {asked: submitted(service, upload, shapes(4), n_epochs=1, precision=asked) for asked in ("auto", "bf16")}
    assert ended(service, jobs["auto"])["precision"] == report["auto"] == "fp32"
    refused = ended(service, jobs["bf16"])["error"]  # which did not pass its check there
    assert refused["code"] == "device_unavailable"
    assert "ask for one of fp32" in refused["message"]


@pytest.mark.nightly
def test_a_precision_that_passed_its_check_can_be_asked_for(whole_service: httpx.Client, upload: Upload) -> None:
    (report,) = wait_until(lambda: whole_service.get("/v1/workers").json()["data"], seconds=120)[0]["preflight"]
    assert report["precisions"].keys() == {"fp32", "bf16", "fp16"}
    job = submitted(whole_service, upload, shapes(4), n_epochs=1, precision="bf16")
    assert ended(whole_service, job)["precision"] == "bf16"


@pytest.fixture
def whole_service(features_dir: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """Everything, with a worker as it is."""
    config = Settings(data_dir=tmp_path, cache_dir=features_dir, weights="random:0", port=free_port(), spare_memory=0)
    with (
        stack.running(config, workers=1, predictor=False) as running,
        httpx.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client
