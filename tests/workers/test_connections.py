"""A job does not wait for connections: the worker has them."""

from pathlib import Path

import httpx
import pytest
import redis

from services.client import stack
from services.settings import Settings
from tests.drawing import shapes
from tests.jobs import Upload, ended, submitted
from tests.waiting import wait_until


@pytest.mark.slow
def test_jobs_share_the_connections_of_their_worker(quiet: Settings, upload: Upload, nursery: Path) -> None:
    with (
        stack.running(quiet, workers=1, worker="tests.gated.worker", predictor=False) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        wait_until(lambda: client.get("/v1/workers").json()["data"], seconds=120)
        with redis.Redis.from_url(str(quiet.redis_url)) as store:
            opened = []
            for _ in range(5):
                job = submitted(client, upload, shapes(4, first=300), n_epochs=1)
                assert ended(client, job)["status"] == "succeeded"
                opened.append(store.info("stats")["total_connections_received"])
    # Heartbeat, renewal and events may come together for the first time, and need two more.
    assert opened[4] - opened[1] < 3, "one for each job"
