"""The stream of all that happens to a tenant's jobs: in order, resumable, honest about gaps."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import redis
from httpx_sse import ServerSentEvent, connect_sse

from services.settings import Settings
from services.store import keys, scripts
from tests.api.test_streams import Writer

Submit = Callable[..., httpx.Response]


@pytest.fixture
def config(redis_url: str, api_data: Path) -> Settings:
    return Settings(data_dir=api_data, redis_url=redis_url)


@pytest.fixture
def writers(config: Settings, submit: Submit) -> Iterator[list[Writer]]:
    with ExitStack() as opened:
        jobs = [submit().json()["id"] for _ in range(2)]
        yield [opened.enter_context(closing(Writer(config, job))) for job in jobs]


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def followed(api: httpx.Client, last: str | None = None, **params: str) -> Iterator[ServerSentEvent]:
    headers = {"Last-Event-ID": last} if last else {}
    with connect_sse(api, "GET", "/v1/events", headers=headers, params=params) as source:
        assert source.response.status_code == 200
        yield from source.iter_sse()


def said(event: ServerSentEvent) -> tuple[str, str]:
    return event.json()["fine_tuning_job_id"], event.json()["message"]


def take(stream: Iterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    return [next(stream) for _ in range(count)]


def test_all_jobs_speak_in_one_stream_from_now_on(api: httpx.Client, writers: list[Writer]) -> None:
    one, other = writers
    one.say("before anyone listened")
    stream = followed(api)
    assert next(stream).event == "start"
    one.say("a", "b")
    other.say("c")
    one.finish()
    found = take(stream, 4)
    assert list(map(said, found)) == [(one.job, "a"), (one.job, "b"), (other.job, "c"), (one.job, "finished")]
    listed = {event["id"]: event for event in api.get(f"/v1/fine_tuning/jobs/{one.job}/events").json()["data"]}
    for event in (found[0], found[1], found[3]):
        mine = event.json()
        assert mine.pop("fine_tuning_job_id") == one.job
        assert listed[mine["id"]] == mine


def test_it_goes_on_after_the_last_id_without_a_hole_or_a_double(api: httpx.Client, writers: list[Writer]) -> None:
    start = next(followed(api)).id
    for number in range(4):
        for writer in writers:
            writer.say(str(number))
    whole = take(followed(api, start), 9)[1:]
    assert [event.json()["message"] for event in whole] == [str(n) for n in range(4) for _ in writers]
    for cut, event in enumerate(whole[:-1]):
        rest = take(followed(api, event.id), 8 - cut)[1:]
        assert [later.id for later in rest] == [later.id for later in whole[cut + 1 :]]
    assert [event.id for event in take(followed(api, last_event_id=start), 3)[1:]] == [event.id for event in whole[:2]]


def test_what_its_cap_pushed_out_is_a_gap(api: httpx.Client, writers: list[Writer], redis_client: redis.Redis) -> None:
    start = next(followed(api)).id
    writers[0].say("lost", "kept")
    redis_client.xtrim(keys.feed("local"), maxlen=1, approximate=False)
    found = take(followed(api, start), 3)
    assert [event.event for event in found] == ["start", "gap", "message"]
    assert said(found[2]) == (writers[0].job, "kept")


def test_an_event_that_its_job_no_longer_has_is_a_gap(
    api: httpx.Client, writers: list[Writer], redis_client: redis.Redis
) -> None:
    start = next(followed(api)).id
    one, other = writers
    one.say("gone", "this too", "and this")
    redis_client.delete(keys.events(one.job))
    other.say("there")
    found = take(followed(api, start), 3)
    assert [event.event for event in found] == ["start", "gap", "message"]
    assert take(followed(api, found[1].id), 2)[1].id == found[2].id


def test_the_feed_is_bounded(writers: list[Writer], redis_client: redis.Redis) -> None:
    for _ in range(12):
        writers[0].say(*("x" * 8 for _ in range(1000)))
    assert redis_client.xlen(keys.feed("local")) <= scripts.FEED_CAP + 200
