"""A hint only hastens: whatever Celery meets in Redis, the worker takes the next job, and keeps no connection of it."""

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
from kombu.asynchronous import Hub

from services.client import stack
from services.process.managed import REPLACE_ME
from services.settings import Settings
from services.store import keys
from services.store.broker import Consumption
from tests.conftest import free_port, running_valkey
from tests.drawing import shapes
from tests.jobs import Upload, ended, submitted
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

HINTS = keys.train_queue("any")
GARBAGE: list[bytes] = [
    b"garbage",
    b"",
    b"\xff\xfe\x00",
    b"null",
    b"[1, 2]",
    b'{"headers": null}',
    b'{"headers": {"task": "recommender.retrain"}, "properties": {}, "body": ""}',
    json.dumps({"headers": {"task": "headway.train"}, "body": 7}).encode(),
    json.dumps({"headers": {"task": "headway.train"}, "properties": [], "body": "!"}).encode(),
    json.dumps(
        {
            "headers": {"task": "headway.train", "id": 1, "lang": "py"},
            "properties": {"delivery_tag": 1, "body_encoding": "base64", "delivery_info": {}},
            "body": "%%%",
        }
    ).encode(),
]


@dataclass
class Fleet:
    """A stack with one worker, and what its Redis says."""

    client: httpx.Client
    redis: redis.Redis
    upload: Upload
    log: Path

    def worker(self) -> dict[str, Any]:
        (found,) = wait_until(lambda: self.client.get("/v1/workers").json()["data"], seconds=120)
        return dict(found)

    def train(self, first: int) -> dict[str, Any]:
        """A job, to its end."""
        return ended(self.client, submitted(self.client, self.upload, shapes(4, first=first), n_epochs=1))


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, features_dir: Path, upload: Upload, nursery: Path
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("hints")
    with running_valkey(folder / "valkey.sock", folder) as url:
        config = Settings(
            data_dir=folder,
            cache_dir=features_dir,
            redis_url=url,
            weights="random:0",
            port=free_port(),
            spare_memory=0,
            time_scale=0.5,
        )
        with (
            stack.running(config, workers=1, worker="tests.gated.worker", predictor=False) as running,
            httpx.Client(base_url=running.url, timeout=60) as client,
            redis.Redis.from_url(url) as store,
        ):
            yield Fleet(client, store, upload, folder / "logs" / "worker-1.log")


def test_what_is_no_hint_is_dropped_and_said_once(fleet: Fleet) -> None:
    before = fleet.worker()
    fleet.redis.lpush(HINTS, *GARBAGE)
    assert fleet.train(first=300)["status"] == "succeeded"
    wait_until(lambda: not fleet.redis.llen(HINTS))
    after = fleet.worker()
    assert (after["id"], after["consumer"]["refusal"]) == (before["id"], None)
    assert fleet.log.read_text().count("was no hint") == 1


def test_what_another_application_keeps_in_its_own_queue_stays_there(fleet: Fleet) -> None:
    fleet.redis.lpush("train", b"theirs")
    assert fleet.train(first=310)["status"] == "succeeded"
    assert fleet.redis.lrange("train", 0, -1) == [b"theirs"]


def test_a_job_is_found_where_no_hint_can_come(fleet: Fleet) -> None:
    """The list is no list: Redis refuses both sides."""
    fleet.worker()
    fleet.redis.delete(HINTS)
    fleet.redis.set(HINTS, "in the way")
    try:
        assert fleet.train(first=320)["status"] == "succeeded"
        wait_until(lambda: "WRONGTYPE" in str(fleet.worker()["consumer"]["refusal"]))
    finally:
        fleet.redis.delete(HINTS)
    wait_until(lambda: fleet.worker()["consumer"]["refusal"] is None)
    assert fleet.log.read_text().count("gives no hints") == fleet.log.read_text().count("gives hints again") == 1


def test_a_redis_that_refuses_writes_for_a_while_costs_neither_connections_nor_lines(fleet: Fleet) -> None:
    process = psutil.Process(fleet.worker()["pid"])
    files, lines = process.num_fds(), len(fleet.log.read_text().splitlines())
    for _ in range(2):
        fleet.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            time.sleep(4)  # that long, it refuses
            assert fleet.client.get("/readyz").status_code == 503
        finally:
            fleet.redis.execute_command("REPLICAOF", "NO", "ONE")
        assert fleet.train(first=330)["status"] == "succeeded"
    assert process.num_fds() <= files + 2
    assert len(fleet.log.read_text().splitlines()) <= lines + 8


def test_a_worker_whose_consumer_ends_unasked_ends_too_as_one_to_be_replaced(quiet: Settings) -> None:
    ends = "from tests.gated.worker import main; main._consume = lambda *_: None; raise SystemExit(main.main())"
    command, environment = [sys.executable, "-c", ends], quiet.as_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == REPLACE_ME, done.stderr
    assert "ended unasked" in done.stderr


def test_a_consumer_is_woken_from_outside_its_loop_as_often_as_one_likes() -> None:
    """While a job is worked on it asks for nothing, and by itself it hears with its next tick only that it is over."""
    consumption, hub = Consumption(pause=1.0), Hub()
    consumption.wake()  # nobody listens yet
    for _ in range(2):  # it is registered anew after each absence of Redis
        consumption.is_woken_in(hub)
    (woken,) = hub.readers
    for _ in range(100_000):
        consumption.wake()
    assert select.select([woken], [], [], 0)[0]
    ticks = hub.create_loop()
    while select.select([woken], [], [], 0)[0]:
        next(ticks)
    hub.close()
