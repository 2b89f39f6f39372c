"""Everything on a bucket: no file of the service lies on a disk that its processes share."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.client import stack
from services.settings import Settings
from tests.buckets import Bucket, bucket
from tests.conftest import free_port
from tests.drawing import png, shape, shapes, tarred
from tests.jobs import CLOSE, JOBS, Upload, curve, ended, final_events, look
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def s3(bucket_port: int) -> Iterator[Bucket]:
    with bucket(bucket_port) as made:
        yield made


@pytest.fixture(scope="module")
def client(s3: Bucket, nursery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a whole stack."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADWAY_FILES", s3.url)
        config = Settings(
            data_dir=tmp_path_factory.mktemp("stack"), weights="random:0", port=free_port(), spare_memory=0
        )
        with (
            stack.running(config, workers=1, worker="tests.gated.worker") as running,
            httpx.Client(base_url=running.url, timeout=60) as client,
        ):
            wait_until(lambda: client.get("/v1/workers").json()["data"], seconds=120)
            yield client
            assert not config.files_dir.exists()


@pytest.mark.slow
def test_a_job_trains_through_faults_of_its_bucket_and_leaves_a_model(
    client: httpx.Client, s3: Bucket, upload: Upload
) -> None:
    images = tarred(shapes(12), "w:gz")
    file = upload(client, images, name="images.tar.gz").json()
    assert file["contents"]["images"] == 24
    asked = {"training_file": file["id"], "n_epochs": 40, "learning_rate": 1e-3}
    whole = client.post(JOBS, json=asked).json()["id"]
    model = ended(client, whole)["fine_tuned_model"]
    assert model, client.get(f"{JOBS}/{whole}").json()
    s3.cuts, s3.refuses = 3, 5
    job = client.post(JOBS, json=asked).json()["id"]
    assert ended(client, job)["status"] == "succeeded"
    assert curve(client, job) == pytest.approx(curve(client, whole), abs=CLOSE)
    assert len(final_events(client, job)) == 1

    told = client.post(
        "/v1/predictions", data={"model": model}, files={"image": ("x.png", png(shape("circle", 900)))}
    ).json()
    assert told["data"][0]["labels"][0]["label"] in ("circle", "square"), told
    assert client.get(f"{JOBS}/{whole}/evaluation").json()["images"] == 4
    assert len(client.get(f"{JOBS}/{whole}/evaluation/images").json()["data"]) == 4
    shown = client.get(f"/v1/files/{file['id']}/images").json()["data"]
    assert len(shown) == 20
    assert client.get(f"/v1/files/{file['id']}/images/{shown[0]['id']}").headers["content-type"] == "image/jpeg"

    assert client.delete(f"{JOBS}/{job}").is_success
    assert not [key for key in s3.keys if job in key]
    assert client.delete(f"/v1/models/{model}").is_success
    assert client.delete(f"/v1/files/{file['id']}").is_success
    left = [key for key in s3.keys if "/forgotten/" not in key and "/history/" not in key]
    assert left == []


def test_a_file_is_downloaded_in_parts_and_not_twice(client: httpx.Client, upload: Upload) -> None:
    content = tarred(shapes(3))
    url = f"/v1/files/{upload(client, content).json()['id']}/content"
    whole = client.get(url)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["content-length"] == str(len(content))
    for asked, start, stop in [("0-9", 0, 10), ("100-", 100, len(content)), ("-7", len(content) - 7, len(content))]:
        part = client.get(url, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, content[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert client.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    changed = {"Range": "bytes=0-9", "If-Range": '"other"'}
    assert client.get(url, headers=changed).content == content
    beyond = client.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(content)}")
    for nonsense in ("bytes=x", "bytes=-", f"bytes=0-{'9' * 5000}"):
        assert client.get(url, headers={"Range": nonsense}).status_code == 400


def test_an_upload_in_parts_is_put_together_in_the_bucket(client: httpx.Client, s3: Bucket) -> None:
    content = tarred(shapes(4, first=50))
    halves = content[:5000], content[5000:]
    announced = {
        "filename": "images.tar",
        "bytes": len(content),
        "purpose": "fine-tune",
        "mime_type": "application/x-tar",
    }
    upload = client.post("/v1/uploads", json=announced).json()["id"]
    parts = [
        client.post(f"/v1/uploads/{upload}/parts", files={"data": io.BytesIO(half)}).json()["id"] for half in halves
    ]
    done = client.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts}).json()
    assert client.get(f"/v1/files/{done['file']['id']}/content").content == content
    assert not [key for key in s3.keys if "/incoming/" in key]


def test_what_is_refused_leaves_nothing(client: httpx.Client, s3: Bucket, upload: Upload) -> None:
    assert upload(client, b"no archive").status_code == 422
    assert not [key for key in s3.keys if "/incoming/" in key]


@pytest.mark.nightly
def test_a_bucket_that_is_away_for_long_costs_no_job(client: httpx.Client, s3: Bucket, upload: Upload) -> None:
    asked = {"training_file": upload(client, tarred(shapes(6, first=70))).json()["id"], "n_epochs": 3000}
    job = client.post(JOBS, json=asked).json()["id"]
    wait_until(lambda: look(client, job)["progress"]["step"] > 0, seconds=60)
    s3.refuses = float("inf")
    wait_until(lambda: look(client, job)["status_reason"]["code"] == "files_unavailable", seconds=120)
    refused = upload(client, tarred(shapes(3)))
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    s3.refuses = 0
    assert ended(client, job)["status"] == "succeeded"
    assert len(final_events(client, job)) == 1
