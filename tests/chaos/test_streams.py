"""Many streams, slow ones, and clients that are gone: one process holds them all with two connections to Redis."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import psutil
import pytest
import redis

from services.contract.ids import new_id
from services.settings import Settings
from services.store.store import open_store
from tests.api.test_streams import Writer
from tests.conftest import TIME_SCALE, free_port, running_api, spec
from tests.jobs import JOBS
from tests.processes import child_of_this_test
from tests.waiting import wait_until


@pytest.fixture
def api(settings: Settings, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """An API that has published no hint: Celery would hold connections of its own."""
    scale = getattr(request, "param", 1.0)
    with running_api(settings.model_copy(update={"port": free_port(), "time_scale": scale})) as client:
        yield client


@pytest.fixture
def job(settings: Settings) -> str:
    """Made without the API, for the same reason."""

    async def create() -> str:
        async with open_store(settings) as store:
            id = new_id("ftjob")
            await store.jobs.create(id, "local", spec())
            return id

    return asyncio.run(create())


@pytest.fixture
def writer(settings: Settings, job: str) -> Iterator[Writer]:
    with closing(Writer(settings, job)) as voice:
        yield voice


@pytest.fixture
def valkey(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def request_for(job: str) -> bytes:
    return f"GET {JOBS}/{job}/events?stream=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def opened(api: httpx.Client, job: str) -> socket.socket:
    """A stream of which nothing is read yet, with little room for what comes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", api.base_url.port or 0))
    connection.sendall(request_for(job))
    connection.settimeout(30)
    return connection


def is_read(valkey: "redis.Redis") -> bool:
    """Whether the API waits for entries of a stream."""
    return any(client["cmd"] == "xread" and "b" in client["flags"] for client in valkey.client_list())


@pytest.mark.nightly
def test_a_thousand_streams_hear_all_over_two_connections_to_redis(
    api: httpx.Client, job: str, writer: Writer, valkey: "redis.Redis"
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    before, connections = len(valkey.client_list()), 0  # ours, and those of the session's other API

    async def one(opened: asyncio.Barrier) -> bytes:
        reader, stream = await asyncio.open_connection("127.0.0.1", api.base_url.port)
        stream.write(request_for(job))
        heard = await reader.readuntil(b"Attempt 1 started")
        await opened.wait()
        heard += await reader.readuntil(b"event: done")
        stream.close()
        return heard

    async def all_of_them() -> list[bytes]:
        nonlocal connections
        opened = asyncio.Barrier(1001)
        listening = [asyncio.create_task(one(opened)) for _ in range(1000)]
        await opened.wait()
        connections = len(await asyncio.to_thread(valkey.client_list)) - before
        await asyncio.to_thread(writer.say, "hello")
        await asyncio.to_thread(writer.finish)
        return await asyncio.gather(*listening)

    try:
        heard = asyncio.run(asyncio.wait_for(all_of_them(), 90))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert connections == 2
    assert all(said.count(b'"message":"hello"') == said.count(b'"message":"finished"') == 1 for said in heard)


@pytest.mark.nightly
@pytest.mark.parametrize("api", [5.0], indirect=True, ids=["patient"])  # it must not cut them off meanwhile
def test_readers_that_do_not_read_hold_no_memory_and_catch_up_with_a_gap(
    api: httpx.Client, job: str, writer: Writer
) -> None:
    process = child_of_this_test("services.api", api.base_url.port or 0)
    readers = [opened(api, job) for _ in range(20)]
    api.get("/healthz")
    before = process.memory_info().rss
    for block in range(24):
        writer.say(*(f"{block}-{number} {'.' * 1000}" for number in range(500)))
    grown = process.memory_info().rss - before
    assert grown < 60e6  # all that they have not read is 20 × 12 MB
    writer.finish()
    heard = b""
    while b"event: done" not in heard[-200:]:
        part = readers[0].recv(1 << 20)
        assert part
        heard += part
    assert heard.count(b"event: gap") >= 1
    ids = [tuple(map(int, line[4:].split(b"-"))) for line in heard.split(b"\n") if line.startswith(b"id: ")]
    assert ids == sorted(set(ids))
    assert b'"message":"finished"' in heard
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("api", [TIME_SCALE], indirect=True, ids=[""])
@pytest.mark.parametrize("how", ["hangs up", "takes nothing more"])
def test_a_client_that_is_gone_is_noticed(
    api: httpx.Client, job: str, writer: Writer, valkey: "redis.Redis", how: str
) -> None:
    reader = opened(api, job)
    port = reader.getsockname()[1]
    wait_until(lambda: is_read(valkey))
    assert port in _clients(api)
    if how == "hangs up":
        reader.close()
    writer.say(*("." * 1000 for _ in range(9000)))
    wait_until(lambda: port not in _clients(api), seconds=45)
    wait_until(lambda: not is_read(valkey), seconds=15)
    reader.close()


def _clients(api: httpx.Client) -> list[int]:
    """The ports of the clients that the API still holds."""
    process: psutil.Process = child_of_this_test("services.api", api.base_url.port or 0)
    return [c.raddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
