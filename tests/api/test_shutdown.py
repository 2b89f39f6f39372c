"""The API ends in order: its open streams are closed, and go on elsewhere by their last id."""

import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from httpx_sse import connect_sse

from services.settings import Settings
from tests.api.test_streams import Writer, messages, streamed
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped
from tests.processes import child_of_this_test
from tests.waiting import wait_until


@pytest.mark.slow
def test_a_sigterm_with_many_open_streams_ends_within_five_seconds_and_none_loses_an_event(
    redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, redis_url=redis_url, weights="random:0", port=free_port())
    heard: dict[int, list[str]] = {}
    last: dict[int, str] = {}

    def listen(number: int) -> None:
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=30) as own,
            connect_sse(own, "GET", f"/v1/fine_tuning/jobs/{job}/events") as source,
        ):
            heard[number] = []
            for event in source.iter_sse():
                heard[number].append(event.json()["message"])
                last[number] = event.id

    with running_api(settings) as api:
        form = {"purpose": "fine-tune"}
        file = api.post("/v1/files", data=form, files={"file": ("a.zip", zipped(shapes(2)))}).json()["id"]
        job = api.post("/v1/fine_tuning/jobs", json={"training_file": file}).json()["id"]
        writer = Writer(settings, job)
        threads = [threading.Thread(target=listen, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        writer.say("before")
        wait_until(lambda: len(heard) == 40 and all("before" in said for said in heard.values()))
        process = child_of_this_test("services.api", settings.port)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert time.monotonic() - began < 5
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
    with closing(writer):
        writer.say("between")
        writer.finish()
    with running_api(settings.model_copy(update={"port": free_port()})) as api:
        for number in (0, 39):
            rest = messages(list(streamed(api, job, last[number])))
            assert heard[number] + rest == messages(list(streamed(api, job)))
            assert rest == ["between", "finished"]
