"""How records are read, whatever they are of: a hash by its key, and a page of a lexical list of ids."""

from services.store.commands import Redis
from services.store.scripts import Scripts


async def read_hash(redis: Redis, scripts: Scripts, key: str) -> dict[str, str]:
    """Empty where there is none. Asked again while Redis is away, as scripts are."""
    flat = await scripts.persistently(lambda: redis.hgetall(key))
    return {field.decode(): value.decode() for field, value in flat.items()}


async def newest_ids(redis: Redis, key: str, *, after: str | None, limit: int) -> tuple[list[str], bool]:
    """Newest first, from the one before `after`; and whether there are more."""
    start = f"({after}" if after else "+"
    ids = await redis.zrevrangebylex(key, start, "-", 0, limit + 1)
    return [id.decode() for id in ids[:limit]], len(ids) > limit
