"""The live stream: in order, resumable, honest about gaps, ended with done."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from httpx_sse import ServerSentEvent, connect_sse

from services.contract.events import NewEvent
from services.settings import Settings
from services.store import keys
from services.store.events import Batch
from services.store.store import open_store
from tests.api.conftest import problem
from tests.conftest import profile, result
from tests.waiting import wait_until

Submit = Callable[..., httpx.Response]


class Writer:
    """A worker's voice, without a worker. It owns the job from the start."""

    def __init__(self, settings: Settings, job: str) -> None:
        self._runner, self._opened, self._batch = asyncio.Runner(), AsyncExitStack(), 0
        self._store = self._runner.run(self._opened.enter_async_context(open_store(settings)))
        claim = self._runner.run(self._store.leases.claim(job, profile()))
        assert claim is not None
        self._claim, self.job = claim, job

    def say(self, *messages: str) -> None:
        self._batch += 1
        events = [NewEvent(created_at=0, message=message) for message in messages]
        self._runner.run(self._store.events.emit(self._claim, Batch(self._batch, events)))

    def finish(self) -> None:
        self._runner.run(self._store.leases.finish(self._claim, result(), "finished", {}))

    def put_away(self) -> None:
        record = self._runner.run(self._store.jobs.get(self._claim.job))
        assert record is not None
        self._runner.run(self._store.history.put_away(record))

    def close(self) -> None:
        self._runner.run(self._opened.aclose())
        self._runner.close()


@pytest.fixture
def job(submit: Submit) -> str:
    return str(submit().json()["id"])


@pytest.fixture
def writer(redis_url: str, api_data: Path, job: str) -> Iterator[Writer]:
    with closing(Writer(Settings(data_dir=api_data, redis_url=redis_url), job)) as voice:
        yield voice


def streamed(api: httpx.Client, job: str, last: str | None = None) -> Iterator[ServerSentEvent]:
    headers = {"Last-Event-ID": last} if last else {}
    with connect_sse(api, "GET", f"/v1/fine_tuning/jobs/{job}/events", headers=headers) as source:
        assert source.response.status_code == 200
        yield from source.iter_sse()


def messages(events: list[ServerSentEvent]) -> list[str]:
    return [event.json()["message"] for event in events if event.event == "message"]


def test_the_stream_tells_all_live_and_ends_with_done(api: httpx.Client, job: str, writer: Writer) -> None:
    def speak() -> None:
        for number in range(5):
            writer.say(f"{number}a", f"{number}b")
        writer.finish()

    speaker = threading.Thread(target=speak)
    speaker.start()
    events = list(streamed(api, job))
    speaker.join()
    assert messages(events)[2:] == [f"{n}{x}" for n in range(5) for x in "ab"] + ["finished"]
    assert events[-1].event == "done"
    assert events[0].retry == 3000
    assert [event.id for event in events[:-1]] == [event.json()["id"] for event in events[:-1]]


def test_an_event_arrives_while_the_stream_is_open(api: httpx.Client, job: str, writer: Writer) -> None:
    stream = streamed(api, job)
    next(stream), next(stream)
    for number in range(3):
        said_at = time.monotonic()
        writer.say(str(number))
        assert next(stream).json()["message"] == str(number)
        assert time.monotonic() - said_at < 1.0
    stream.close()  # type: ignore[attr-defined]


def test_a_stream_goes_on_after_the_last_id_and_says_nothing_twice(api: httpx.Client, job: str, writer: Writer) -> None:
    writer.say("one", "two", "three")
    writer.finish()
    all = list(streamed(api, job))
    for cut in range(len(all) - 2):
        rest = list(streamed(api, job, all[cut].id))
        assert messages(all[: cut + 1]) + messages(rest) == messages(all)


def test_coming_back_after_the_end_is_204(api: httpx.Client, job: str, writer: Writer) -> None:
    writer.finish()
    last = list(streamed(api, job))[-2].id
    path = f"/v1/fine_tuning/jobs/{job}/events"
    for params, headers in (
        ({"stream": "true", "last_event_id": last}, {}),
        ({"stream": "true"}, {"Last-Event-ID": last}),
    ):
        assert api.get(path, params=params, headers=headers).status_code == 204


def test_a_job_that_was_put_away_tells_all_it_told(api: httpx.Client, job: str, writer: Writer) -> None:
    writer.say(*map(str, range(120)))
    writer.finish()
    all = list(streamed(api, job))
    path = f"/v1/fine_tuning/jobs/{job}"
    asked = [f"{path}/events?limit=100", f"{path}/metrics", f"{path}/metrics?format=csv", f"{path}/checkpoints"]
    answers = [api.get(url).content for url in asked]
    writer.put_away()
    assert messages(list(streamed(api, job))) == messages(all)
    assert messages(list(streamed(api, job, all[60].id))) == messages(all)[61:]
    assert [api.get(url).content for url in asked] == answers
    assert api.get(f"{path}/events?stream=true&last_event_id={all[-2].id}").status_code == 204


def test_a_job_whose_history_was_lost_with_its_disk_keeps_no_client_waiting(
    api: httpx.Client, api_data: Path, job: str, writer: Writer
) -> None:
    writer.finish()
    writer.put_away()
    shutil.rmtree(api_data / "files" / "local" / "history" / job)
    path = f"/v1/fine_tuning/jobs/{job}"
    assert api.get(f"{path}/events?stream=true").status_code == 204
    assert api.get(f"{path}/events").json()["data"] == []
    assert api.get(f"{path}/metrics").json()["points"] == 0


def test_what_was_trimmed_is_told_as_a_gap(api: httpx.Client, job: str, writer: Writer) -> None:
    beginning = streamed(api, job)
    first = next(beginning).id
    beginning.close()  # type: ignore[attr-defined]
    for batch in range(11):
        writer.say(*(f"{batch}.{i}" for i in range(1000)))
    writer.finish()
    events = list(streamed(api, job, first))
    assert events[0].event == "gap"
    assert events[0].json()["trimmed_to"]
    assert len(messages(events)) == 10_000


def test_the_list_is_newest_first_and_pages_by_id(api: httpx.Client, job: str, writer: Writer) -> None:
    writer.say("one", "two", "three")
    path = f"/v1/fine_tuning/jobs/{job}/events"
    page = api.get(path, params={"limit": 2}).json()
    assert ([event["message"] for event in page["data"]], page["has_more"]) == (["three", "two"], True)
    event = page["data"][0]
    assert (event["object"], event["level"], event["type"]) == ("fine_tuning.job.event", "info", "message")
    rest = api.get(path, params={"after": page["data"][-1]["id"]}).json()
    assert rest["data"][0]["message"] == "one"
    assert rest["has_more"] is False
    assert api.get(path, params={"after": "0-0"}).json()["data"] == []


@pytest.mark.parametrize("params", [{"after": "x"}, {"after": "1-0\n"}, {"stream": "true", "last_event_id": "1-"}])
def test_what_is_no_event_id_is_refused_by_name(api: httpx.Client, job: str, params: dict[str, Any]) -> None:
    refused = problem(api.get(f"/v1/fine_tuning/jobs/{job}/events", params=params), 422)
    assert refused["error"]["param"] in params


def test_many_listeners_share_one_reader_of_redis(api: httpx.Client, job: str, writer: Writer, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        heard: list[list[str]] = []

        def listen() -> None:
            with httpx.Client(base_url=api.base_url, timeout=30) as own:
                heard.append(messages(list(streamed(own, job))))

        threads = [threading.Thread(target=listen) for _ in range(40)]
        for thread in threads:
            thread.start()
        wait_until(lambda: _open_streams(api) >= 40)
        readers = [c for c in client.client_list() if c["cmd"] == "xread"]
        writer.say("hello")
        writer.finish()
        for thread in threads:
            thread.join()
    assert len(readers) == 1
    assert len(heard) == 40
    assert all(said[-2:] == ["hello", "finished"] for said in heard)


def _open_streams(api: httpx.Client) -> float:
    lines = api.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("headway_streams_open ")))


def test_a_listener_that_comes_after_others_left_hears_everything(
    api: httpx.Client, job: str, writer: Writer, redis_url: str
) -> None:
    stream = streamed(api, job)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    writer.say("missed by nobody")
    writer.finish()
    assert messages(list(streamed(api, job)))[-2:] == ["missed by nobody", "finished"]
    with redis.Redis.from_url(redis_url) as client:
        assert client.exists(keys.events(job))
