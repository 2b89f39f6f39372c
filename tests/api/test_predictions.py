"""From a picture to a label: by the plain form and by the stock client, from a predictor that really looks."""

import asyncio
import base64
import io
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.models import ResNet18_Weights

from services.contract.model import PREPROCESSING
from services.contract.prediction import BODY_BYTES, IMAGE_BYTES, IMAGES
from services.settings import Settings
from tests.api.conftest import problem
from tests.drawing import png, shape, zipped
from tests.jobs import Upload
from tests.models import MadeModel, checkpointed, made_model, running_predictor

LABELS = ["ant", "bee", "cat", "dög"]
PREDICTIONS = "/v1/predictions"


@pytest.fixture(scope="module")
def predictor(valkey_url: str, api_data: Path, predictor_socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    config = Settings(data_dir=api_data, redis_url=valkey_url, weights="random:0")
    with running_predictor(config, predictor_socket) as process:
        yield process


@pytest.fixture
def config(redis_url: str, api_data: Path) -> Settings:
    return Settings(data_dir=api_data, redis_url=redis_url, weights="random:0")


@pytest.fixture
def model(api: httpx.Client, config: Settings, predictor: subprocess.Popen[bytes]) -> MadeModel:
    return made_model(config, LABELS)


@pytest.fixture
def client(api: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def photo(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, format: str = "jpeg", **more: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **more)
    return content.getvalue()


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, exif=exif)


def data_url(content: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def expected(model: MadeModel, content: bytes, temperature: float = 1.0) -> dict[str, float]:
    """Log-probabilities of the exported model, on Pillow's pixels through torchvision's transforms."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    with torch.inference_mode():
        logits = model.network(ResNet18_Weights.DEFAULT.transforms()(image)[None])[0] / temperature
    return dict(zip(model.labels, torch.log_softmax(logits, 0).tolist(), strict=True))


def asked_of_chat(url: str, **more: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}]} | more


# --- the answer is the exported model's ----------------------------------------------------------------------------

PICTURES = {
    "a photograph": saved(photo()),
    "a turned one": turned(photo(480, 640, seed=1)),
    "progressive": saved(photo(seed=2), progressive=True),
    "in grey": saved(photo(seed=3).convert("L")),
    "a small PNG": saved(photo(100, 80, seed=4), "png"),
    "WebP": saved(photo(300, 300, seed=5), "webp", lossless=True),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_logits_are_those_of_the_exported_model(api: httpx.Client, model: MadeModel, picture: str) -> None:
    content = PICTURES[picture]
    body = {"model": model.id, "images": [data_url(content)], "top_k": len(LABELS)}
    answer = api.post(PREDICTIONS, json=body).json()["data"][0]
    found = {one["label"]: np.log(one["probability"]) for one in answer["labels"]}
    wanted = expected(model, content)
    assert list(found) == sorted(wanted, key=lambda label: -wanted[label])
    assert found == pytest.approx(wanted, abs=1e-4)


def test_probabilities_are_by_the_models_temperature(
    api: httpx.Client, config: Settings, predictor: subprocess.Popen[bytes]
) -> None:
    model, content = made_model(config, LABELS, temperature=2.5), saved(photo())
    body = {"model": model.id, "images": [data_url(content)], "top_k": 4}
    found = {
        one["label"]: np.log(one["probability"]) for one in api.post(PREDICTIONS, json=body).json()["data"][0]["labels"]
    }
    assert found == pytest.approx(expected(model, content, 2.5), abs=1e-4)


@pytest.mark.slow
def test_many_models_are_asked_at_once_and_each_answers_for_itself(
    api: httpx.Client, config: Settings, predictor: subprocess.Popen[bytes]
) -> None:
    models, content = [made_model(config, LABELS, seed=seed) for seed in range(6)], saved(photo())
    found: dict[str, str] = {}

    def ask(model: MadeModel) -> None:
        body = {"model": model.id, "images": [data_url(content)] * 3, "top_k": 1}
        labels = {one["labels"][0]["label"] for one in api.post(PREDICTIONS, json=body).json()["data"]}
        (found[model.id],) = labels

    threads = [threading.Thread(target=ask, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {model.id: max((scores := expected(model, content)), key=lambda label: scores[label]) for model in models}
    assert found == wanted
    assert len(set(found.values())) > 1


# --- the plain form ------------------------------------------------------------------------------------------------


def test_a_form_with_files_is_answered_in_order_and_a_broken_one_in_its_place(
    api: httpx.Client, model: MadeModel
) -> None:
    files = [
        ("image", ("a.jpg", saved(photo()))),
        ("image", ("b.jpg", b"no image")),
        ("image", ("c.png", png(shape("circle", 1)))),
    ]
    answer = api.post(PREDICTIONS, data={"model": model.id, "top_k": "2"}, files=files)
    assert answer.status_code == 200, answer.text
    first, broken, last = answer.json()["data"]
    assert [one["filename"] for one in (first, broken, last)] == ["a.jpg", "b.jpg", "c.png"]
    assert [one["index"] for one in (first, broken, last)] == [0, 1, 2]
    assert len(first["labels"]) == len(last["labels"]) == 2
    assert broken["labels"] == []
    assert broken["error"]["code"] == "image_unreadable"
    assert first["error"] is last["error"] is None
    assert sum(one["probability"] for one in first["labels"]) <= 1 + 1e-6


def test_top_k_is_no_more_than_there_are_labels(api: httpx.Client, model: MadeModel) -> None:
    body = {"model": model.id, "images": [data_url(saved(photo()))], "top_k": 1000}
    labels = api.post(PREDICTIONS, json=body).json()["data"][0]["labels"]
    assert sorted(one["label"] for one in labels) == sorted(LABELS)
    assert sum(one["probability"] for one in labels) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"images": []}, 422, "images"),
        ({"images": ["data:image/png;base64,AAAA"] * (IMAGES + 1)}, 422, "images"),
        ({"images": ["https://example.org/a.jpg"]}, 400, "images.0"),
        ({"images": ["data:image/png;base64,AAAA", "file:///etc/passwd"]}, 400, "images.1"),
        ({"images": ["data:image/png;base64,&&&"]}, 400, "images.0"),
        ({"images": ["data:image/png;base64,"]}, 400, "images.0"),
        ({"images": ["data:" + "A" * 200_000]}, 400, "images.0"),  # a pattern would try every split of it
        ({"images": ["data:image/png;base64,AAAA"], "top_k": 0}, 422, "top_k"),
        ({"images": ["data:image/png;base64,AAAA"], "topk": 1}, 422, "topk"),
        ({"images": ["data:image/png;base64,AAAA"], "model": "ft:resnet18::nothing"}, 404, "model"),
    ],
)
def test_a_wrong_field_is_named(
    api: httpx.Client, model: MadeModel, body: dict[str, Any], status: int, param: str
) -> None:
    assert problem(api.post(PREDICTIONS, json={"model": model.id} | body), status)["error"]["param"] == param


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, [("image", ("a.png", b"x"))], "model"),
        ({"model": "m"}, [("photo", ("a.png", b"x"))], "photo"),
        ({"model": "m", "top_k": "many"}, [("image", ("a.png", b"x"))], "top_k"),
        ({"model": "m", "top_k": "000001" + "9" * 5000}, [("image", ("a.png", b"x"))], "top_k"),
        ({"model": "m", "topk": "1"}, [("image", ("a.png", b"x"))], "topk"),
    ],
)
def test_a_wrong_field_of_a_form_is_named(
    api: httpx.Client, fields: dict[str, str], files: list[Any], param: str
) -> None:
    assert problem(api.post(PREDICTIONS, data=fields, files=files), 422)["error"]["param"] == param


def test_an_empty_image_and_one_over_the_cap_are_errors_in_their_places(api: httpx.Client, model: MadeModel) -> None:
    large = saved(photo()) + bytes(IMAGE_BYTES)
    files = [("image", ("empty.jpg", b"")), ("image", ("large.jpg", large)), ("image", ("ok.jpg", saved(photo())))]
    empty, over, ok = api.post(PREDICTIONS, data={"model": model.id}, files=files).json()["data"]
    assert empty["error"]["message"] == "it is empty"
    assert "is the most" in over["error"]["message"]
    assert ok["labels"]


def test_a_form_that_names_a_strange_charset_is_refused(api: httpx.Client) -> None:
    for charset in ("undefined", "utf-7", "punycode"):
        headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
        problem(api.post(PREDICTIONS, content=b"--b--", headers=headers), 400)


def test_bodies_that_do_not_come_keep_nobody_out(api: httpx.Client, model: MadeModel) -> None:
    host = api.base_url.host, api.base_url.port or 0
    head = f"POST {PREDICTIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with ExitStack() as open_connections:
        for length in ["Transfer-Encoding: chunked", f"Content-Length: {BODY_BYTES}"] * 6:
            connection = open_connections.enter_context(socket.create_connection(host))
            connection.sendall(f"{head}{length}\r\n\r\n".encode() + (b"1\r\n{" if "chunked" in length else b"{"))
        body = {"model": model.id, "images": [data_url(saved(photo()))]}
        assert api.post(PREDICTIONS, json=body).status_code == 200


def test_a_body_that_is_too_large_or_no_json_is_refused(api: httpx.Client) -> None:
    problem(api.post(PREDICTIONS, content=b"{", headers={"content-type": "application/json"}), 400)
    headers = {"content-type": "application/json"}
    problem(api.post(PREDICTIONS, content=b"[" * 200_000, headers=headers), 400)
    problem(api.post(PREDICTIONS, content=b"[]", headers={"content-type": "application/json"}), 422)
    with socket.create_connection((api.base_url.host, api.base_url.port or 0)) as connection:
        head = f"POST {PREDICTIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES + 1}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


# --- the stock client ----------------------------------------------------------------------------------------------


def test_a_chat_answers_the_label_with_its_logprobs(client: openai.OpenAI, model: MadeModel) -> None:
    content = saved(photo())
    wanted = expected(model, content)
    best = sorted(wanted, key=lambda label: -wanted[label])
    answer = client.chat.completions.create(
        model=model.id,
        **asked_of_chat(data_url(content), logprobs=True, top_logprobs=3, n=1, tools=[], stream=False, temperature=0.2),
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason, choice.index) == (best[0], "stop", 0)
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    (token,) = choice.logprobs.content
    assert (token.token, bytes(token.bytes or [])) == (best[0], best[0].encode())
    assert [one.token for one in token.top_logprobs] == best[:3]
    assert [one.logprob for one in token.top_logprobs] == pytest.approx([wanted[label] for label in best[:3]], abs=1e-4)
    bare = client.chat.completions.create(model=model.id, **asked_of_chat(data_url(content)))
    assert bare.choices[0].logprobs is None


def test_a_response_answers_the_label(client: openai.OpenAI, model: MadeModel) -> None:
    content = saved(photo(seed=7))
    wanted = expected(model, content)
    image = {"type": "input_image", "image_url": data_url(content), "detail": "auto"}
    asked: Any = [{"role": "user", "content": [{"type": "input_text", "text": "?"}, image]}]
    answer = client.responses.create(model=model.id, input=asked, tools=[], store=False)
    assert answer.output_text == max(wanted, key=lambda label: wanted[label])
    assert answer.status == "completed"
    told = client.responses.create(
        model=model.id, input=asked, include=["message.output_text.logprobs"], top_logprobs=2
    ).model_dump()
    assert len(told["output"][0]["content"][0]["logprobs"][0]["top_logprobs"]) == 2


IMAGE = data_url(png(shape("circle", 1)), "image/png")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"stream": True}, "stream"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"messages": [{"role": "user", "content": "what is a cat?"}]}, "messages"),
        (asked_of_chat("https://example.org/cat.jpg"), "messages.0.content.1.image_url.url"),
        (asked_of_chat("data:image/png;base64,AAAA"), "messages.0.content.1.image_url.url"),
        ({"messages": 2 * asked_of_chat(IMAGE)["messages"]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages.0.content.0.type",
        ),
    ],
)
def test_what_a_classifier_cannot_do_is_a_400_that_names_it(
    client: openai.OpenAI, model: MadeModel, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model.id, **(asked_of_chat(IMAGE) | more))
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": "what is a cat?"}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"stream": True}, "stream"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input.0.content.0.image_url",
        ),
    ],
)
def test_what_a_response_cannot_be_is_a_400_that_names_it(
    client: openai.OpenAI, model: MadeModel, more: dict[str, Any], param: str
) -> None:
    asked = {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}]}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=model.id, **(asked | more))
    assert refused.value.param == param


def test_what_nobody_set_may_be_null_also_what_this_version_does_not_know(api: httpx.Client, model: MadeModel) -> None:
    nulls = dict.fromkeys(("functions", "verbosity", "web_search_options", "n", "tools", "stream"))
    body = {"model": model.id} | asked_of_chat(IMAGE) | nulls
    assert api.post("/v1/chat/completions", json=body).status_code == 200
    refused = problem(api.post("/v1/chat/completions", json=body | {"verbosity": "low"}), 422)
    assert refused["error"]["param"] == "verbosity"


def test_a_checkpoint_is_asked_by_its_name(
    api: httpx.Client, client: openai.OpenAI, upload: Upload, config: Settings, predictor: subprocess.Popen[bytes]
) -> None:
    files = {f"{label}/{number}.png": png(shape("circle", number)) for number, label in enumerate(LABELS)}
    file = upload(api, zipped(files)).json()["id"]
    job, head = asyncio.run(checkpointed(config, file, LABELS))
    model = MadeModel("", job, LABELS, head)
    content = saved(photo(seed=9))
    wanted = expected(model, content)
    name = f"ft:resnet18::{job.removeprefix('ftjob-')}:step-7"
    for _ in range(2):  # its head goes along the first time only
        answer = client.chat.completions.create(model=name, **asked_of_chat(data_url(content)))
        assert answer.choices[0].message.content == max(wanted, key=lambda label: wanted[label])
    fetched = client.models.retrieve(name).model_dump()
    assert (fetched["checkpoint"], fetched["formats"]) == (f"ftckpt-{job.removeprefix('ftjob-')}-0", [])
    assert fetched["metrics"]["step"] == 7
    with pytest.raises(openai.UnprocessableEntityError):
        client.models.delete(name)


def test_an_unknown_model_is_404(client: openai.OpenAI, model: MadeModel) -> None:
    for name in ("gpt-4o", model.id.replace("resnet18::", "resnet18:other:"), f"{model.id}:step-7", model.job):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=name, **asked_of_chat(IMAGE))


# --- models as objects ---------------------------------------------------------------------------------------------


def test_models_are_listed_fetched_and_deleted(client: openai.OpenAI, api: httpx.Client, config: Settings) -> None:
    made = [made_model(config, LABELS, seed=seed) for seed in range(3)]
    ids = [model.id for model in made]
    assert [model.id for model in client.models.list()] == ids[::-1]
    assert [one["id"] for one in api.get(f"/v1/models?limit=1&after={ids[2]}").json()["data"]] == [ids[1]]
    problem(api.get("/v1/models?after=x"), 422)
    fetched = client.models.retrieve(ids[0]).model_dump()
    assert fetched["object"] == "model"
    assert fetched["owned_by"] == "local"
    assert (fetched["labels"], fetched["num_labels"], fetched["job"]) == (LABELS, 4, made[0].job)
    assert fetched["formats"] == ["safetensors"]
    manifest = api.get(f"/v1/models/{ids[0]}/manifest").json()
    assert manifest["weights_sha256"] == fetched["weights_sha256"]
    assert client.models.delete(ids[0]).deleted
    problem(api.get(f"/v1/models/{ids[0]}"), 404)
    problem(api.get(f"/v1/models/{ids[0]}/content"), 404)
    problem(api.delete(f"/v1/models/{ids[0]}"), 404)
    assert not (config.files_dir / "local" / "models" / made[0].job).exists()
    assert api.get(f"/v1/fine_tuning/jobs/{made[0].job}").json()["status"] == "succeeded"
    assert api.delete(f"/v1/fine_tuning/jobs/{made[1].job}").status_code == 200  # which takes its model along
    assert [model.id for model in client.models.list()] == [ids[2]]


def test_the_stated_preprocessing_is_torchvisions() -> None:
    transforms = ResNet18_Weights.DEFAULT.transforms()
    assert [PREPROCESSING.resize] == transforms.resize_size
    assert [PREPROCESSING.crop] == transforms.crop_size
    assert (PREPROCESSING.mean, PREPROCESSING.std) == (transforms.mean, transforms.std)


# --- a predictor that is not there ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_predictor_that_is_killed_costs_a_503_that_may_be_retried(
    api: httpx.Client, config: Settings, model: MadeModel, predictor: subprocess.Popen[bytes], predictor_socket: Path
) -> None:
    body = {"model": model.id, "images": [data_url(saved(photo()))]}
    predictor.kill()
    predictor.wait()
    refused = api.post(PREDICTIONS, json=body)
    assert "headway predictor" in problem(refused, 503)["detail"]
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["retry-after"]
    with running_predictor(config, predictor_socket):
        assert api.post(PREDICTIONS, json=body).status_code == 200
