"""`headway doctor`: what an environment may do to Headway, looked at one by one, each with what to do about it."""

import asyncio
import importlib.util
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from redis.exceptions import RedisError

from services.client import stack
from services.contract.weights import DefaultWeights, RandomWeights
from services.keysfile import KeysFileError, read_keys
from services.settings import Settings
from services.store.store import open_store, refusal_to_start

FILES = 4096  # open files that a thousand streams want
ROOM = 2 * 1024**3  # bytes of disk below which it gets tight


@dataclass(frozen=True)
class Diagnosis:
    about: str
    verdict: Literal["ok", "note", "wrong"]
    said: str


def findings(config: Settings, environment: Mapping[str, str]) -> Iterator[Diagnosis]:
    for look in LOOKS:
        yield look(config, environment)


def _folder(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about, data = "data folder", config.data_dir.absolute()
    there = next(path for path in (data, *data.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Diagnosis(about, "wrong", f"{there} cannot be written: set HEADWAY_DATA_DIR to a folder that can")
    free = shutil.disk_usage(there).free
    if free < ROOM:
        return Diagnosis(about, "note", f"{data}: {free / 1e9:.1f} GB are left on its disk")
    return Diagnosis(about, "ok", f"{data}, {free / 1e9:.0f} GB free")


def _socket(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about = "store's socket"
    if config.redis_url:
        return Diagnosis(about, "ok", "not needed: HEADWAY_REDIS_URL is set")
    try:
        with stack.short_folder() as folder:
            usual = Path(folder).parent == Path(tempfile.gettempdir())
            return Diagnosis(about, "ok" if usual else "note", folder if usual else f"TMPDIR is too long: {folder}")
    except stack.StackError as error:
        return Diagnosis(about, "wrong", str(error))


def _redis(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about = "Redis"
    if not config.redis_url:
        return Diagnosis(about, "ok", "`headway up` brings its own; set HEADWAY_REDIS_URL for another")
    try:
        refusal, aside = asyncio.run(_asked(config))
    except (RedisError, OSError) as error:
        return Diagnosis(about, "wrong", f"HEADWAY_REDIS_URL cannot be reached: {error}")
    if refusal:
        return Diagnosis(about, "wrong", refusal)
    if aside:
        return Diagnosis(
            about, "note", f"{len(aside)} jobs cannot be read by this version: {', '.join(list(aside)[:3])}"
        )
    return Diagnosis(about, "ok", "answers, and can be trusted with jobs")


async def _asked(config: Settings) -> tuple[str | None, dict[str, str]]:
    if refusal := await refusal_to_start(config):
        return refusal, {}
    async with open_store(config, patience=0) as store:
        await store.redis.ping()
        return None, await store.jobs.aside()


def _weights(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about = "weights"
    if isinstance(config.weights, RandomWeights):
        return Diagnosis(about, "note", f"{config.weights}: not pretrained, for trials only")
    if isinstance(config.weights, DefaultWeights):
        return Diagnosis(about, "ok", "torchvision's, downloaded by the first job if they are not there yet")
    if not config.weights.path.is_file():
        return Diagnosis(about, "wrong", f"HEADWAY_WEIGHTS: there is no file {config.weights.path}")
    return Diagnosis(about, "ok", str(config.weights.path))


def _keys(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about = "who may call"
    if refusal := config.refusal_to_serve():
        return Diagnosis(about, "wrong", refusal)
    if config.api_keys_file is None:
        where = "whoever reaches it" if config.open else "this machine only"
        return Diagnosis(about, "note" if config.open else "ok", f"{where}: no keys are set (HEADWAY_API_KEYS_FILE)")
    try:
        known = read_keys(config.api_keys_file)
    except KeysFileError as error:
        return Diagnosis(about, "wrong", str(error))
    plain = "" if config.host in ("127.0.0.1", "localhost", "::1") else "; keys go in the clear: put TLS before it"
    return Diagnosis(about, "note" if plain else "ok", f"{len(known)} keys{plain}")


def _service(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about = "the service"
    try:
        answer = httpx.get(f"{config.url}/readyz", timeout=config.timing.probe, trust_env=False)
    except (httpx.HTTPError, ValueError):
        return Diagnosis(about, "note", f"none answers at {config.url} (HEADWAY_URL): is `headway up` running there?")
    if answer.status_code == 200:
        return Diagnosis(about, "ok", f"{config.url} is ready, {answer.json()['workers']} workers")
    return Diagnosis(about, "wrong", f"{config.url}/readyz says {answer.status_code}: {answer.text[:200]}")


def _proxies(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about = "proxies"
    set_to = {name: value for name, value in environment.items() if name.lower().endswith("_proxy") and value}
    socks = [name for name, value in set_to.items() if value.startswith("socks")]
    if socks and importlib.util.find_spec("socksio") is None:
        return Diagnosis(about, "wrong", f"{socks[0]} speaks SOCKS: pip install 'httpx[socks]', or use NO_PROXY")
    if set_to:
        return Diagnosis(about, "note", f"{', '.join(sorted(set_to))}: not used for this machine itself")
    return Diagnosis(about, "ok", "none")


def _limits(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < FILES:
        return Diagnosis("open files", "note", f"at most {hard}: some {hard // 2} live streams (ulimit -Hn)")
    return Diagnosis("open files", "ok", "as many as a thousand streams want")


def _links(config: Settings, environment: Mapping[str, str]) -> Diagnosis:
    about, link = "Kubernetes' links", environment.get("HEADWAY_SERVICE_HOST")
    if link:
        said = "a Service is named headway: its HEADWAY_PORT is passed over (enableServiceLinks: false ends that)"
        return Diagnosis(about, "note", said)
    return Diagnosis(about, "ok", "none that look like settings")


LOOKS: tuple[Callable[[Settings, Mapping[str, str]], Diagnosis], ...] = (
    _folder,
    _socket,
    _redis,
    _weights,
    _keys,
    _service,
    _proxies,
    _limits,
    _links,
)
