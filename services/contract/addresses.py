"""Addresses as people write them: what would be misread in silence is refused with a sentence."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qsl, quote, urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}  # and how the primary is reached
SENTINEL_PORT = 26379
REDIS_URL = "give redis://host:6379/0, rediss://… (TLS), redis+sentinel://host,host/name or unix:///path"
PERCENT = "percent-encode what is special in a password (@ is %40, / is %2F, # is %23), or set HEADWAY_REDIS_PASSWORD"


def checked_redis_url(url: str) -> str:
    """As redis-py will read it. Raises ValueError with a sentence, which never shows the password."""
    scheme, found, _ = url.partition("://")
    if not found or scheme not in ("redis", "rediss", "unix", *SENTINEL_SCHEMES):
        raise ValueError(f"{scheme + '://' if found else 'an address without a scheme'} is not supported: {REDIS_URL}")
    try:
        parts = urlsplit(url)
        sentinels_of(parts.netloc)
    except ValueError:
        raise ValueError(f"its host and port cannot be read: {PERCENT}") from None
    if parts.fragment or parts.netloc.count("@") > 1 or "@" in parts.path:
        raise ValueError(f"it has a raw @, / or # in its password: {PERCENT}")
    path = parts.path
    if scheme in SENTINEL_SCHEMES:
        name, slash, db = path.removeprefix("/").partition("/")
        if not all(host for host, _ in sentinels_of(parts.netloc)):
            raise ValueError(f"it has a comma without a host: give {scheme}://host:26379,host:26379/name")
        if not name:
            raise ValueError(f"it names no primary: give {scheme}://host:26379,host:26379/name, or …/name/0")
        path = slash + db
    elif "," in parts.netloc.rpartition("@")[2]:
        raise ValueError(f"it names several hosts: for Sentinels give {scheme}+sentinel://host,host/name")
    if scheme != "unix" and not re.fullmatch(r"/?|/\d+", path):
        raise ValueError(f"{path!r} is no database: Redis numbers them, as in redis://host:6379/0 or ?db=0")
    if not re.fullmatch(r"|\d+", dict(parse_qsl(parts.query)).get("db", "")):
        raise ValueError("its db is no number, as in ?db=0")
    return url


def sentinels_of(netloc: str) -> list[tuple[str, int]]:
    """Hosts and ports, with commas between, after a user if there is one. Raises ValueError."""
    hosts = [urlsplit(f"//{host}") for host in netloc.rpartition("@")[2].split(",")]
    return [(host.hostname or "", host.port or SENTINEL_PORT) for host in hosts]


def with_password(url: str, password: str | None) -> str:
    """Of Redis: the password goes where the URL has none."""
    _, found, rest = url.partition("://")
    if not password or not found or urlsplit(url).password:
        return url
    netloc = urlsplit(url).netloc
    user, _, host = netloc.rpartition("@")
    return url.removesuffix(rest) + f"{user}:{quote(password, safe='')}@{host}" + rest.removeprefix(netloc)


def checked_service_url(url: str) -> str:
    """Raises ValueError with a sentence."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} has no scheme: give it as http://{url or '127.0.0.1:8000'} or https://…")
    return url.rstrip("/")


def checked_predictor_urls(urls: str) -> str:
    """Some, with commas between. Raises ValueError with a sentence."""
    for url in urls.split(","):
        if url.strip() and not url.strip().startswith(("http://", "https://", "unix:///")):
            raise ValueError(f"{url!r} is not supported: give http://host:port, or unix:///path of a socket")
    return urls


BUCKET = re.compile(r"(s3|gs|az)://[a-zA-Z0-9][a-zA-Z0-9._-]+(/(?!\.\.?(/|$))[^/?#\s]+)*/?")


def checked_files_url(url: str) -> str:
    """A bucket's without a slash at its end. Raises ValueError with a sentence."""
    if url.startswith("file:///"):
        return url
    if BUCKET.fullmatch(url):
        return url.rstrip("/")
    raise ValueError(
        f"{url!r} is not supported: give a local folder as file:///absolute/path, or a bucket as s3://bucket/folder, "
        "gs://bucket/folder or az://container/folder; its keys stand in AWS_…, GOOGLE_… or AZURE_…"
    )


Network = IPv4Network | IPv6Network


def networks_of(text: str) -> list[Network]:
    """Some, with commas between; "any" is all there are. Raises ValueError with a sentence."""
    if text.strip() == "any":
        return [ip_network("0.0.0.0/0"), ip_network("::/0")]
    try:
        return [ip_network(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"{error}: give networks as 10.0.0.0/8,192.168.1.5, or any") from None


def checked_networks(text: str) -> str:
    """Raises ValueError with a sentence."""
    networks_of(text)
    return text


def checked_url_path(path: str) -> str:
    """Raises ValueError with a sentence."""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", path):
        raise ValueError(f"{path!r} is no path: give it as /headway")
    return path.rstrip("/")


def checked_key(key: str) -> str:
    """Raises ValueError with a sentence."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("it has a character that no key has: was it cut with an … or pasted with more than the key?")
    return key


def checked_origin(origin: str) -> str:
    """Raises ValueError with a sentence."""
    if not re.fullmatch(r"https?://[^/?#]+", origin):
        raise ValueError(f"{origin!r} is no origin: give scheme, host and port, as in http://localhost:3000")
    return origin.lower()


def name_of(host: str) -> str:
    """Of what a Host header or a setting says, without its port, in lower case."""
    name = host.rpartition(":")[0] if not host.endswith("]") and host.count(":") == 1 else host
    return (name.partition("]:")[0] + "]" if "]:" in name else name).lower()


def is_loopback(host: str) -> bool:
    try:
        return host in LOOPBACK_NAMES or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
