"""Posting to addresses that users name, and never to what only we can reach: each address is looked at as it is
connected to, so that a name cannot be one thing when it is checked and another when it is used (DNS rebinding)."""

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import zip_longest

import httpcore
import httpx

from services.contract.addresses import Network, networks_of
from services.contract.errors import InvalidRequest
from services.contract.timing import Timing

Address = IPv4Address | IPv6Address

NAT64 = IPv6Network("64:ff9b::/96")  # in which an IPv4 address is wrapped, of a private network too
# What `ipaddress` takes for public, and is none: relays, the own cloud, documentation; and of IPv6 all but the
# one block from which addresses are given out.
UNICAST = IPv6Network("2000::/3")
RESERVED: Sequence[Network] = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("168.63.129.16/32"),
    IPv6Network("3fff::/20"),
)
ADDRESSES = 3  # of a name, that are tried
# Threads of their own, for a name whose server is silent holds one for long: more than two tenants' deliveries at once.
NAMES = ThreadPoolExecutor(64, thread_name_prefix="names")
CONNECTIONS = 80  # deliveries under way, and some that wait to be closed
CLOSED = "Server disconnected without sending a response."  # as httpcore has it
SETTING = "HEADWAY_WEBHOOK_NETWORKS"
URL_CAP = 2048  # characters, once it is encoded


class NotPublic(Exception):
    """A name leads to no address that webhooks may go to."""


@dataclass(frozen=True)
class Answered:
    """What came of a post: an HTTP status, or why there was none."""

    status: int | None
    error: str | None = None


@dataclass(frozen=True)
class Reach:
    """Which addresses may be posted to: public ones, and those of `networks`."""

    networks: Sequence[Network]

    @classmethod
    def of(cls, setting: str) -> "Reach":
        return cls(networks_of(setting))

    def permits(self, address: Address) -> bool:
        inner = _unwrapped(address)
        return _is_public(inner) or any(inner in network for network in self.networks if _alike(inner, network))

    async def checked_url(self, url: str, timing: Timing) -> str:
        """As it will be posted to. A name that leads nowhere yet may later. Raises InvalidRequest."""
        try:
            parsed = httpx.URL(url)
            problem = self._problem(parsed)
            if problem is None and len(str(parsed)) > URL_CAP:
                problem = f"it has {len(str(parsed))} characters as it is sent, and may have {URL_CAP}"
            if problem is None:
                async with asyncio.timeout(timing.webhook):
                    await self.addresses(parsed.host, parsed.port or 443)
        except (httpx.InvalidURL, UnicodeError) as error:
            problem = f"it cannot be read: {error}"
        except NotPublic as error:
            problem = str(error)
        except (OSError, TimeoutError):
            problem = None
        if problem is not None:
            raise InvalidRequest(f"url: {problem}", param="url")
        return str(parsed)

    def _problem(self, url: httpx.URL) -> str | None:
        if url.scheme != "https" and not (url.scheme == "http" and self.networks):
            return f"give https://…; http:// is taken only where {SETTING} names your own networks"
        if not url.host:
            return "it names no host"
        if url.port is not None and not 0 < url.port < 65536:
            return f"{url.port} is no port"
        if url.userinfo:
            return "leave user and password out: messages are signed"
        return "leave out what stands after #" if url.fragment else None

    async def addresses(self, host: str, port: int) -> list[str]:
        """Of a host, those that are permitted. Raises NotPublic, and OSError where it has none at all."""
        found = await _resolved(host, port)
        permitted = [str(address) for address in found if self.permits(address)]
        if not permitted:
            raise NotPublic(f"{host} is no public address; {SETTING} names others that may be reached")
        return permitted


class _Checking(httpcore.AsyncNetworkBackend):
    """Connects to permitted addresses only. Over TLS it is still the name that must be on the certificate."""

    def __init__(self, reach: Reach, seconds: float) -> None:
        """`seconds` for each of a name's addresses."""
        self._reach, self._seconds, self._inner = reach, seconds, httpcore.AnyIOBackend()
        self._lookups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = _alternating(await self._looked_up(host, port))[:ADDRESSES]
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._inner.connect_tcp(address, port, self._seconds, local_address, socket_options)
        return await self._inner.connect_tcp(last, port, self._seconds, local_address, socket_options)

    async def _looked_up(self, host: str, port: int) -> list[str]:
        """Who wants the same name at the same time waits for the same lookup."""
        if (lookup := self._lookups.get((host, port))) is None:
            lookup = self._lookups[host, port] = asyncio.create_task(self._reach.addresses(host, port))
            lookup.add_done_callback(partial(self._forget, (host, port)))
        return await asyncio.shield(lookup)

    def _forget(self, name: tuple[str, int], lookup: asyncio.Task[list[str]]) -> None:
        del self._lookups[name]
        if not lookup.cancelled():
            lookup.exception()  # which nobody hears where all had given up

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class Outside:
    """Posts, and follows no redirect."""

    def __init__(self, reach: Reach, timing: Timing) -> None:
        self.reach, self._timing = reach, timing
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=CONNECTIONS,
            keepalive_expiry=timing.webhook,
            network_backend=_Checking(reach, timing.webhook / (ADDRESSES + 1)),
        )

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> Answered:
        """What is answered beside the status is not read."""
        host = httpx.URL(url).netloc  # httpcore would leave out the brackets of an IPv6 address
        sent = [(b"host", host), *((name.encode(), value.encode()) for name, value in headers.items())]
        try:
            async with (
                asyncio.timeout(self._timing.webhook),
                self._pool.stream("POST", url, headers=sent, content=content) as response,
            ):
                return Answered(response.status)
        except TimeoutError:
            return Answered(None, f"no answer within {self._timing.webhook:g} s")
        except NotPublic as error:
            return Answered(None, str(error))
        except httpcore.ProtocolError as error:  # whose other words may show what a stranger's server said
            is_closed = str(error) == CLOSED
            return Answered(
                None, "it closed the connection without an answer" if is_closed else "its answer was no HTTP"
            )
        except (OSError, ValueError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            return Answered(None, _words(error))


async def _resolved(host: str, port: int) -> list[Address]:
    """Raises OSError."""
    try:
        return [ip_address(host.strip("[]"))]
    except ValueError:
        found = await asyncio.get_running_loop().run_in_executor(NAMES, _looked_up, host, port)
        return [ip_address(address.partition("%")[0]) for address in found]


def _alternating(addresses: Sequence[str]) -> list[str]:
    """IPv6 and IPv4 in turns, the first kind first: where one kind leads nowhere, the other is tried too."""
    is_first = [(":" in address) is (":" in addresses[0]) for address in addresses]
    first = [address for address, is_of_it in zip(addresses, is_first, strict=True) if is_of_it]
    other = [address for address, is_of_it in zip(addresses, is_first, strict=True) if not is_of_it]
    return [address for pair in zip_longest(first, other) for address in pair if address]


def _looked_up(host: str, port: int) -> list[str]:
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in UNICAST:
        return False
    reserved = any(address in network for network in RESERVED if _alike(address, network))
    return address.is_global and not address.is_multicast and not reserved


def _alike(address: Address, network: Network) -> bool:
    return address.version == network.version


def _words(error: Exception) -> str:
    said = str(error) or type(error).__name__
    return said.splitlines()[0][:200]
