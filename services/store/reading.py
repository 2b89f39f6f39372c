"""How records are read, whatever they are of: a hash by its key, a page of a lexical list of ids, and what another
version wrote."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from services.store.commands import Redis
from services.store.scripts import Scripts

log = logging.getLogger(__name__)
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


async def read_hash(redis: Redis, scripts: Scripts, key: str) -> dict[str, str]:
    """Empty where there is none. Asked again while Redis is away, as scripts are."""
    flat = await scripts.persistently(lambda: redis.hgetall(key))
    return _decoded(flat)


async def read_hashes(redis: Redis, keys: Iterable[str]) -> list[dict[str, str]]:
    """Together."""
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        return [_decoded(flat) for flat in await pipe.execute()]


async def some_ids(
    redis: Redis, key: str, *, after: str | None, limit: int, oldest_first: bool = False
) -> tuple[list[str], bool]:
    """By age, from the one beyond `after`, newest first if not otherwise asked; and whether there are more."""
    start = f"({after}" if after else "-" if oldest_first else "+"
    if oldest_first:
        ids = await redis.zrangebylex(key, start, "+", 0, limit + 1)
    else:
        ids = await redis.zrevrangebylex(key, start, "-", 0, limit + 1)
    return [id.decode() for id in ids[:limit]], len(ids) > limit


async def fields_of_all(
    redis: Redis, ids_key: str, hash_key: Callable[[str], str], fields: list[str], *, at_once: int
) -> AsyncIterator[tuple[str, list[bytes | None]]]:
    """Of every record that a list of ids names, newest first: its id and these fields, None where it lacks one."""
    after, more = None, True
    while more:
        ids, more = await some_ids(redis, ids_key, after=after, limit=at_once)
        async with redis.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(hash_key(id), fields)
            found = await pipe.execute()
        for id, values in zip(ids, found, strict=True):
            yield id, values
        after = ids[-1] if ids else None


def refuse_newer(fields: Mapping[str, str], version: int) -> None:
    """Raises ValueError."""
    if int(fields.get("v", version)) > version:
        raise ValueError(f"it was written by a later version (v{fields['v']}, here {version})")


def _decoded(flat: Mapping[bytes, bytes]) -> dict[str, str]:
    return {field.decode(errors="replace"): value.decode(errors="replace") for field, value in flat.items()}


def readable(kind: type[M], texts: Iterable[bytes | str]) -> Iterator[M]:
    """Those that can be read, whatever their other fields are; that one cannot is said once."""
    for text in texts:
        try:
            yield kind.model_validate_json(text, extra="ignore")
        except ValidationError as error:
            say_once(f"a {kind.__name__} in Redis", error.errors()[0]["msg"])


class Parts:
    """A record's fields, each read by itself; `problems` names those that could not be."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        self.problems: list[str] = []

    def read(self, name: str, parse: Callable[[str], T], otherwise: T, *, required: bool = False) -> T:
        """`otherwise` where the field is not there, is empty, or cannot be read."""
        text = self._fields.get(name)
        if not text:
            self.problems += [name] if required else []
            return otherwise
        try:
            return parse(text)
        except (ValueError, TypeError, KeyError):
            self.problems.append(name)
            return otherwise


@cache
def say_once(what: str, why: str) -> None:
    log.error("%s cannot be read and is passed over: %s", what, why)
