"""Which addresses webhooks may go to, whatever a name says when it is checked."""

import asyncio
import socket
import time
from ipaddress import ip_address
from typing import Any

import pytest

from services.contract.errors import InvalidRequest
from services.contract.timing import Timing
from services.webhooks.outside import Outside, Reach
from tests.receivers import receiving

pytestmark = pytest.mark.anyio

PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # where clouds keep a machine's secrets
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "64:ff9b:1::a00:1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "3fff::1",
    "5f00::1",
    "1000::1",
    "192.0.0.192",
    "192.88.99.1",
    "168.63.129.16",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_only_we_can_reach_is_not_permitted(address: str) -> None:
    assert not Reach.of("").permits(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_the_public_internet_is(address: str) -> None:
    assert Reach.of("").permits(ip_address(address))


def test_networks_of_ones_own_are_permitted_where_they_are_named() -> None:
    reach = Reach.of("10.1.0.0/16, fd00::/8,192.168.1.5")
    permitted = [a for a in ("10.1.2.3", "10.2.0.1", "fd00::1", "192.168.1.5", "192.168.1.6", "::ffff:10.1.2.3")]
    assert [a for a in permitted if reach.permits(ip_address(a))] == [
        "10.1.2.3",
        "fd00::1",
        "192.168.1.5",
        "::ffff:10.1.2.3",
    ]
    assert all(Reach.of("any").permits(ip_address(address)) for address in PRIVATE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com/", "give https://"),
        ("ftp://example.com/", "give https://"),
        ("example.com", "give https://"),
        ("https:///path", "no host"),
        ("https://ann:secret@example.com/", "leave user and password out"),
        ("https://example.com/#part", "after #"),
        ("https://example.com:port/", "cannot be read"),
        ("https://1.1.1.1:70000/", "70000 is no port"),
        ("https://1.1.1.1:0/", "0 is no port"),
        ("https://a..b/", "cannot be read"),
        ("https://" + "a" * 70 + ".example/", "cannot be read"),
        ("https://.example.com/", "cannot be read"),
        ("https://xn--a/", "cannot be read"),
        ("https://127.0.0.1/", "no public address"),
        ("https://[::1]:8000/", "no public address"),
        ("https://localhost/", "no public address"),
        ("https://2130706433/", "no public address"),  # 127.0.0.1, as getaddrinfo reads it
    ],
)
async def test_a_url_that_cannot_be_posted_to_is_refused_in_a_sentence(url: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refusal:
        await Reach.of("").checked_url(url, Timing())
    assert refusal.value.param == "url"


async def test_a_name_that_leads_nowhere_yet_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any, **__: Any) -> None:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    assert await Reach.of("").checked_url("https://hooks.example.com", Timing()) == "https://hooks.example.com"


async def test_a_name_that_changes_after_it_was_checked_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the first answer is public, the one at the time of the post is ours."""
    answers = ["1.1.1.1", "127.0.0.1"]

    def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        outside = Outside(Reach.of(""), Timing())
        url = await outside.reach.checked_url(f"https://rebound.example:{receiver.port}/", Timing())
        answered = await outside.post(url, {}, b"{}")
        await outside.aclose()
    assert not answers
    assert answered.status is None
    assert "no public address" in str(answered.error)
    assert receiver.messages == []


async def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        outside = Outside(Reach.of("127.0.0.0/8"), Timing())
        answered = await outside.post(receiver.url.replace("127.0.0.1", "two.example"), {}, b"{}")
        await outside.aclose()
    assert answered.status == 204


async def test_where_one_kind_of_address_leads_nowhere_the_other_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [f"fd00::{n}" for n in range(1, 5)]

    def many(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in [*broken, "127.0.0.1"]]

    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", many)
        outside = Outside(Reach.of("any"), Timing().scaled(0.1))
        answered = await outside.post(receiver.url.replace("127.0.0.1", "six.example"), {}, b"{}")
        await outside.aclose()
    assert answered.status == 204


async def test_posts_to_one_name_wait_for_one_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def slow(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        time.sleep(0.2)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        outside = Outside(Reach.of("any"), Timing())
        url = receiver.url.replace("127.0.0.1", "slow.example")
        answers = await asyncio.gather(*(outside.post(url, {}, b"{}") for _ in range(5)))
        await outside.aclose()
    assert [answered.status for answered in answers] == [204] * 5
    assert asked == ["slow.example"]


async def test_an_ipv6_address_stands_in_brackets_in_the_host_header() -> None:
    with receiving("::1") as receiver:
        outside = Outside(Reach.of("any"), Timing())
        answered = await outside.post(receiver.url, {}, b"{}")
        await outside.aclose()
    assert answered.status == 204
    assert receiver.messages[0][0]["host"] == f"[::1]:{receiver.port}"


async def test_a_server_that_hangs_up_is_told_from_one_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        outside = Outside(Reach.of("any"), Timing())
        posting = asyncio.create_task(outside.post(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, b"{}"))
        connection, _ = await asyncio.to_thread(server.accept)
        with connection:
            while not (await asyncio.to_thread(connection.recv, 65_536)).endswith(b"{}"):  # else it would be reset
                pass
        answered = await posting
        await outside.aclose()
    assert answered.error == "it closed the connection without an answer"


async def test_a_url_has_a_bound_as_it_is_sent() -> None:
    with pytest.raises(InvalidRequest, match="may have 2048"):
        await Reach.of("any").checked_url("https://1.1.1.1/" + "é" * 2000, Timing())


async def test_a_receiver_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = Timing().scaled(0.02)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        outside = Outside(Reach.of("any"), timing)
        answered = await outside.post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", {}, b"{}")
        await outside.aclose()
    assert answered.error == "no answer within 0.3 s"


async def test_what_a_server_says_that_speaks_no_http_is_not_repeated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outside = Outside(Reach.of("any"), Timing())
        posting = asyncio.create_task(outside.post(f"http://127.0.0.1:{port}/", {}, b"{}"))
        connection, _ = await asyncio.to_thread(server.accept)
        with connection:
            connection.sendall(b"secret banner 1.2\r\n\r\n")
            answered = await posting
        await outside.aclose()
    assert answered.error == "its answer was no HTTP"
