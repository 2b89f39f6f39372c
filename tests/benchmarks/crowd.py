"""Many readers of one busy stream, and a neighbour who wants to cancel a job beside them."""

import asyncio
import re
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx

from services.contract.ids import new_id
from services.settings import Settings
from services.store.store import open_store
from tests.api.test_streams import Writer
from tests.benchmarks.parts import Figures, note
from tests.benchmarks.place import Place
from tests.conftest import free_port, running_api, running_valkey, spec
from tests.jobs import JOBS

READERS, RATE, SECONDS = 300, 40, 10  # streams, events a second of some 1 KB, for how long
SENT_AT = re.compile(rb"sent at ([0-9.]+)")


def crowd(place: Place) -> Figures:
    """300 readers of a stream with 40 events a second: how far behind they are, and a cancel beside them."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        with running_valkey(folder / "valkey.sock", folder) as url:
            for _ in range(place.runs):
                settings = Settings(data_dir=folder, redis_url=url, port=free_port())
                with running_api(settings) as client:
                    behind, cancels = _one_crowd(settings, client)
                behind.sort()
                note(found, "300 readers: behind, median, ms", 1000 * statistics.median(behind))
                note(found, "300 readers: behind, p99, ms", 1000 * behind[int(0.99 * len(behind))])
                note(found, "300 readers: a cancel beside them, at most, ms", 1000 * max(cancels))
    return found


def _one_crowd(settings: Settings, client: httpx.Client) -> tuple[list[float], list[float]]:
    jobs = asyncio.run(_created(settings, SECONDS - 2))
    with closing(Writer(settings, jobs[0])) as writer, ProcessPoolExecutor(1) as neighbour:
        neighbour.submit(int).result()  # it has started

        def speak() -> None:
            began = time.monotonic()
            for number in range(RATE * SECONDS):
                writer.say(f"sent at {time.time():.4f} {'.' * 1000}")
                time.sleep(max(0.0, began + (number + 1) / RATE - time.monotonic()))
            writer.finish()

        speaking = threading.Thread(target=speak)
        cancelling = neighbour.submit(_cancelled, str(client.base_url), jobs[1:])
        behind = asyncio.run(_all_behind(client, jobs[0], speaking))
        speaking.join()
        return behind, cancelling.result()


def _cancelled(url: str, jobs: list[str]) -> list[float]:
    """Seconds that each cancel takes. In a process of its own: this one is busy with its readers."""
    took = []
    time.sleep(2)  # until all listen
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


async def _all_behind(client: httpx.Client, job: str, speaking: threading.Thread) -> list[float]:
    opened = asyncio.Barrier(READERS + 1)
    readers = [asyncio.create_task(_behind(client, job, opened)) for _ in range(READERS)]
    await opened.wait()
    speaking.start()
    return [seconds for reader in readers for seconds in await reader]


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
    assert len(behind) > 0.99 * RATE * SECONDS  # but for those that two reads share
    return behind
