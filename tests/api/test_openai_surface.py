"""What the `openai` package sends works, or is refused by name."""

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis

from services.reaper import Reaper
from services.settings import Settings
from services.store.store import Store
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped
from tests.jobs import JOBS
from tests.store.test_reaper import trusting

Upload = Callable[..., httpx.Response]


@pytest.fixture
def client(api: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


def uploaded(client: openai.OpenAI, first: int = 0, **more: Any) -> str:
    content = io.BytesIO(zipped(shapes(3, first=first)))
    return client.files.create(file=("shapes.zip", content), purpose="fine-tune", **more).id


def test_jobs_are_listed_by_their_metadata_over_pages(client: openai.OpenAI) -> None:
    file = uploaded(client)
    made: dict[str | None, list[str]] = {"a": [], "b": [], None: []}
    for number in range(9):
        project = ("a", "b", None)[number % 3]
        metadata = {"project": project, "n": str(number)} if project else None
        job = client.fine_tuning.jobs.create(model="resnet18", training_file=file, metadata=metadata)
        made[project].insert(0, job.id)
    listed = client.fine_tuning.jobs.list
    assert [job.id for job in listed(metadata={"project": "a"}, limit=2)] == made["a"]
    assert [job.id for job in listed(metadata={"project": "a", "n": "0"})] == made["a"][-1:]
    assert [job.id for job in listed(metadata={"project": "c"})] == []
    assert [job.id for job in listed(extra_query={"metadata": "null"})] == made[None]


def test_pages_may_be_asked_for_as_large_as_openais(client: openai.OpenAI) -> None:
    files = [uploaded(client, first=10 * number) for number in range(3)]
    assert [file.id for file in client.files.list(limit=10_000)] == files[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == files
    assert list(client.fine_tuning.jobs.list(limit=1_000)) == []


def test_what_nobody_set_may_be_null(api: httpx.Client, client: openai.OpenAI) -> None:
    file = uploaded(client)
    job = client.fine_tuning.jobs.create(
        model="resnet18", training_file=file, integrations=None, seed=None, suffix=None, validation_file=None
    )
    assert job.seed == 0
    nulls = {
        name: None for name in ("method", "hyperparameters", "metadata", "split", "limits", "checkpoints", "export")
    }
    nested = {"early_stopping": {"patience": None}, "sweep": {"momentum": [0.5, 0.9], "learning_rate": None}}
    assert api.post(JOBS, json={"training_file": file} | nulls).status_code == 200
    assert api.post(JOBS, json={"training_file": file} | nested).json()["early_stopping"]["patience"] == 3
    assert problem(api.post(JOBS, json={"training_file": file, "lerning_rate": None}), 422)["error"]["param"]
    refused = problem(api.post(JOBS, json={"training_file": file, "integrations": [{"type": "wandb"}]}), 422)
    assert refused["error"]["param"] == "integrations"


def test_a_file_is_deleted_with_its_bytes_once_no_job_needs_it(settings: Settings) -> None:
    own = settings.model_copy(update={"port": free_port()})
    with running_api(own) as api, openai.OpenAI(base_url=f"{api.base_url}/v1", api_key="none", max_retries=0) as client:
        file, twin = uploaded(client), uploaded(client)
        job = client.fine_tuning.jobs.create(model="resnet18", training_file=file)
        with pytest.raises(openai.ConflictError) as refused:
            client.files.delete(file)
        assert job.id in refused.value.message
        client.fine_tuning.jobs.cancel(job.id)
        deleted = client.files.delete(file)
        assert (deleted.id, deleted.deleted) == (file, True)
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file)
        assert client.files.content(twin).read()  # the same bytes, under another record
        assert lying(own)
        client.files.delete(twin)
        assert lying(own) == []
        assert client.fine_tuning.jobs.retrieve(job.id).training_file == file


def test_a_file_that_is_deleted_by_many_at_once_is_counted_once(api: httpx.Client, redis_url: str) -> None:
    upload = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a.zip", zipped(shapes(2)))}}
    files = [api.post("/v1/files", **upload).json() for _ in range(2)]  # type: ignore[arg-type]
    with ThreadPoolExecutor() as many:
        list(many.map(lambda _: api.delete(f"/v1/files/{files[0]['id']}"), range(8)))
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("headway:files:stored:local") == str(files[1]["bytes"]).encode()


def lying(settings: Settings) -> list[Path]:
    return [path for path in (settings.files_dir / "local" / "files").rglob("*") if path.is_file()]


@pytest.mark.anyio
async def test_a_file_goes_when_its_expires_after_says(client: openai.OpenAI, store: Store, settings: Settings) -> None:
    kept, short = uploaded(client), uploaded(client, expires_after={"anchor": "created_at", "seconds": 3600})
    record = await store.files.owned_by("local", short)
    assert record is not None
    assert record.expires_at == pytest.approx(time.time() + 3600, abs=5)
    assert [file.id for file in await store.files.expired(time.time() + 3700)] == [short]
    await trusting(Reaper(store, settings)).one_pass()
    assert client.files.retrieve(short).expires_at == record.expires_at
    await store.files.forget(record)
    await store.files.add(type(record)(**(record.__dict__ | {"expires_at": int(time.time()) - 1})))
    await trusting(Reaper(store, settings)).one_pass()
    assert [file.id for file in client.files.list()] == [kept]


@pytest.mark.parametrize("form", [{"anchor": "created_at"}, {"anchor": "now", "seconds": 4000}, {"seconds": 4000}])
def test_an_expires_after_that_means_nothing_is_refused(api: httpx.Client, form: dict[str, Any]) -> None:
    fields = {"purpose": "fine-tune"} | {f"expires_after[{name}]": str(value) for name, value in form.items()}
    answer = api.post("/v1/files", data=fields, files={"file": ("a.zip", zipped(shapes(2)))})
    assert problem(answer, 422)["error"]["param"] == "expires_after"


def test_head_is_get_without_its_body(api: httpx.Client, client: openai.OpenAI) -> None:
    file = uploaded(client)
    job = client.fine_tuning.jobs.create(model="resnet18", training_file=file).id
    names = {"file_id": file, "job_id": job, "path": "circle/000.png"}
    paths = [path.format(**names) for path in gettable(api) if "{" not in path or "file_id" in path]
    for path in [*paths, f"{JOBS}/{job}", f"{JOBS}/{job}/events?stream=true", f"{JOBS}/{job}/metrics"]:
        got = api.get(path) if "stream" not in path and path != "/v1/events" else None
        head = api.head(path)
        assert head.content == b"", path
        assert head.status_code == (got.status_code if got is not None else 200), path
        assert got is None or head.headers["content-type"] == got.headers["content-type"], path


def gettable(api: httpx.Client) -> list[str]:
    return [path for path, methods in json.loads(api.get("/openapi.json").text)["paths"].items() if "get" in methods]
