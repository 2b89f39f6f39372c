"""A primary that is killed in mid-job, or hangs, and Sentinels that promote another: no job is lost or doubled."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import RedisError

from services.client import stack
from services.contract.timing import Timing
from services.settings import Settings
from services.store.connection import connected, warning_of_replicas
from tests.conftest import TIME_SCALE, free_port
from tests.drawing import shapes, zipped
from tests.jobs import ASKED, CLOSE, JOBS, Upload, curve, ended, final_events, look, look_if_up
from tests.sentinels import watched
from tests.waiting import wait_until


@pytest.mark.slow
def test_a_primary_that_is_killed_in_mid_job_costs_no_job(
    nursery: Path, features_dir: Path, tmp_path: Path, upload: Upload
) -> None:
    with watched(tmp_path) as redis:
        config = Settings(
            data_dir=tmp_path / "data",
            cache_dir=features_dir,
            redis_url=redis.url,
            weights="random:0",
            port=free_port(),
            spare_memory=0,
            time_scale=max(TIME_SCALE, 0.5),  # all of it starts at once, on two cores
        )
        with (
            stack.running(config, workers=2, worker="tests.gated.worker", predictor=False) as running,
            httpx.Client(base_url=running.url, timeout=30) as client,
        ):
            asked = {"training_file": upload(client, zipped(shapes(6))).json()["id"]} | ASKED
            undisturbed = client.post(JOBS, json=asked).json()["id"]
            ended(client, undisturbed)
            first = client.post(JOBS, json=asked).json()["id"]
            wait_until(lambda: look(client, first)["progress"]["step"] > 200, seconds=60)
            killed = redis.kill_primary()
            second = wait_until(lambda: _submitted_if_up(client, asked), seconds=60, every=0.5)
            assert redis.primary() != killed
            jobs = first, second
            wait_until(lambda: all(look_if_up(client, job)["status"] == "succeeded" for job in jobs), seconds=150)
            for job in jobs:
                assert len(final_events(client, job)) == 1
                assert curve(client, job) == pytest.approx(curve(client, undisturbed), abs=CLOSE)
            assert client.get("/v1/queue").json()["running"] == 0


SOON = 4.0  # s: the lag that is allowed, and two counts


@pytest.mark.anyio
async def test_a_primary_that_was_cut_off_and_comes_back_soon_takes_nothing_that_it_then_forgets(
    tmp_path: Path,
) -> None:
    """By connections that were open before: they still lead to it, and no Sentinel is asked. It counts its replicas now
    and then; without `min-replicas-to-write` it would go on for ten seconds."""
    with watched(tmp_path) as servers:
        async with connected(servers.url, Timing(), connections=1) as redis:
            assert await warning_of_replicas(redis) is None
            await redis.hset("headway:written", "before", "1")
            with servers.frozen_primary():
                pass
            taken = []
            for n in range(200):
                with contextlib.suppress(RedisError):
                    await redis.hset("headway:written", str(n), "1")
                    taken.append(str(n).encode())
                await asyncio.sleep(0.05)
        assert taken
        async with connected(servers.url, Timing()) as redis:
            kept = set(await redis.hkeys("headway:written"))
        assert kept <= {b"before", *taken}
        assert {b"before", *(name for name in taken if int(name) * 0.05 > SOON)} <= kept


def _submitted_if_up(client: httpx.Client, asked: dict[str, Any]) -> str | None:
    with contextlib.suppress(httpx.TransportError):
        answer = client.post(JOBS, json=asked)
        return str(answer.json()["id"]) if answer.status_code == 200 else None
    return None
