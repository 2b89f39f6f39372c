"""Many readers of one busy stream, and hostile uploads: what a neighbour's cancel or submission takes beside them."""

import asyncio
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from services.contract.ids import new_id
from services.keysfile import new_key
from services.settings import Settings
from services.store.store import open_store
from tests.api.test_streams import Writer
from tests.benchmarks.parts import Figures, note
from tests.benchmarks.place import Place
from tests.chaos import hostile
from tests.conftest import free_port, running_api, running_valkey, spec
from tests.drawing import shapes, zipped
from tests.jobs import JOBS

SECONDS = 10
CROWDS = ((300, 40), (1000, 10))  # readers, events a second of some 1 KB
UPLOADS = 8
SENT_AT = re.compile(rb"sent at ([0-9.]+)")


def crowd(place: Place) -> Figures:
    """Readers of a stream, 300 with 40 events a second, 1,000 with 10: how far behind, and a cancel beside them."""
    found: Figures = {}
    for _ in range(place.runs):
        for readers, rate in CROWDS:
            with _service() as (settings, client):
                behind, cancels = _one_crowd(settings, client, readers, rate)
            behind.sort()
            note(found, f"{readers} readers: behind, median, ms", 1000 * statistics.median(behind))
            note(found, f"{readers} readers: behind, p99, ms", 1000 * behind[int(0.99 * len(behind))])
            note(found, f"{readers} readers: a cancel beside them, at most, ms", 1000 * max(cancels))
    return found


def hostile_uploads(place: Place) -> Figures:
    """Another tenant's submissions, alone and beside eight uploads of bombs at a time."""
    found: Figures = {}
    for _ in range(place.runs):
        with _service("ann", "bob") as (settings, client), ThreadPoolExecutor(UPLOADS) as pool:
            ann, bob = (_as(client, settings, tenant) for tenant in ("ann", "bob"))
            file = _uploaded(ann, zipped(shapes(2))).json()["id"]
            bomb = hostile.ARCHIVES["a bomb"]()
            took = {"alone": _submissions(ann, file), "beside them": []}
            uploads = [pool.submit(_uploaded, bob, bomb) for _ in range(UPLOADS)]
            while not all(upload.done() for upload in uploads):
                took["beside them"] += _submissions(ann, file)
            assert {upload.result().status_code for upload in uploads} == {422}
        for beside, seconds in took.items():
            note(found, f"a submission, {beside}, p99, ms", 1000 * sorted(seconds)[int(0.99 * len(seconds))])
    return found


@contextmanager
def _service(*tenants: str) -> Iterator[tuple[Settings, httpx.Client]]:
    """A store and an API; with keys where there are tenants."""
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        keys = folder / "keys.jsonl" if tenants else None
        with running_valkey(folder / "valkey.sock", folder) as url:
            settings = Settings(data_dir=folder, redis_url=url, port=free_port(), api_keys_file=keys)
            if keys:
                keys.touch()
            with running_api(settings) as client:
                yield settings, client


def _as(client: httpx.Client, settings: Settings, tenant: str) -> httpx.Client:
    assert settings.api_keys_file is not None
    key = new_key(settings.api_keys_file, tenant)
    return httpx.Client(base_url=client.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=300)


def _uploaded(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.zip", content)})


def _submissions(client: httpx.Client, file: str) -> list[float]:
    """Seconds that each of a hundred takes; a tenth of a second between them."""
    took = []
    for _ in range(100):
        began = time.monotonic()
        client.post(JOBS, json={"training_file": file}).raise_for_status()
        took.append(time.monotonic() - began)
        time.sleep(0.1)
    return took


def _one_crowd(settings: Settings, client: httpx.Client, readers: int, rate: int) -> tuple[list[float], list[float]]:
    jobs = asyncio.run(_created(settings, SECONDS - 2))
    with closing(Writer(settings, jobs[0])) as writer, ProcessPoolExecutor(1) as neighbour:
        neighbour.submit(int).result()  # it has started

        def speak() -> None:
            began = time.monotonic()
            for number in range(rate * SECONDS):
                writer.say(f"sent at {time.time():.4f} {'.' * 1000}")
                time.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
            writer.finish()

        speaking, cancelling = threading.Thread(target=speak), list[Future[list[float]]]()

        def begin() -> None:
            speaking.start()
            cancelling.append(neighbour.submit(_cancelled, str(client.base_url), jobs[1:]))

        behind = asyncio.run(_all_behind(client, jobs[0], begin, readers))
        assert len(behind) > 0.99 * readers * rate * SECONDS  # but for those that two reads share
        speaking.join()
        return behind, cancelling[0].result()


def _cancelled(url: str, jobs: list[str]) -> list[float]:
    """Seconds that each cancel takes. In a process of its own: this one is busy with its readers."""
    took = []
    with httpx.Client(base_url=url, timeout=60) as client:
        client.get("/healthz")  # it is connected
        for job in jobs:
            time.sleep(1)
            began = time.monotonic()
            client.post(f"{JOBS}/{job}/cancel").raise_for_status()
            took.append(time.monotonic() - began)
    return took


async def _created(settings: Settings, count: int) -> list[str]:
    ids = [new_id("ftjob") for _ in range(count)]
    async with open_store(settings) as store:
        for id in ids:
            await store.jobs.create(id, "local", spec())
    return ids


async def _all_behind(client: httpx.Client, job: str, begin: Callable[[], None], readers: int) -> list[float]:
    opened = asyncio.Barrier(readers + 1)
    reading = [asyncio.create_task(_behind(client, job, opened)) for _ in range(readers)]
    await opened.wait()
    begin()
    return [seconds for reader in reading for seconds in await reader]


async def _behind(client: httpx.Client, job: str, opened: asyncio.Barrier) -> list[float]:
    """Of each event, seconds since it was sent."""
    reader, stream = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    stream.write(f"GET {JOBS}/{job}/events?stream=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"Attempt 1 started")
    await opened.wait()
    behind: list[float] = []
    while heard := await reader.read(1 << 16):
        now = time.time()
        behind += [now - float(at) for at in SENT_AT.findall(heard)]
        if b"event: done" in heard:
            break
    stream.close()
    return behind
