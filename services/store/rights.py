"""What a user of Redis must be allowed to: asked of Redis command by command, in a transaction that is thrown away."""

from collections.abc import Sequence
from typing import Any, Final, cast

from redis.exceptions import NoPermissionError, ResponseError

from services.store import keys
from services.store.commands import Redis

# Each command that we send, scripts' included, with arguments that it takes. Nothing of it is carried out.
K: Final = keys.TOTALS
COMMANDS: Final[tuple[tuple[str, ...], ...]] = (
    ("APPEND", K, ""),
    ("BRPOP", K, "1"),
    ("CLIENT", "ID"),
    ("CLIENT", "UNBLOCK", "0"),
    ("DEL", K),
    ("EVALSHA", "0" * 40, "1", K),
    ("EXISTS", K),
    ("EXPIRE", K, "1"),
    ("GET", K),
    ("GETRANGE", K, "0", "0"),
    ("HDEL", K, "f"),
    ("HGET", K, "f"),
    ("HGETALL", K),
    ("HINCRBY", K, "f", "0"),
    ("HINCRBYFLOAT", K, "f", "0"),
    ("HKEYS", K),
    ("HLEN", K),
    ("HMGET", K, "f"),
    ("HSET", K, "f", "v"),
    ("INCR", K),
    ("INCRBY", K, "0"),
    ("LLEN", K),
    ("LPOS", K, "v"),
    ("LPUSH", K, "v"),
    ("LRANGE", K, "0", "0"),
    ("LTRIM", K, "0", "0"),
    ("PEXPIRE", K, "1"),
    ("PTTL", K),
    ("PING",),
    ("RPUSH", K, "v"),
    ("SCRIPT", "LOAD", "return 1"),
    ("SET", K, "v"),
    ("STRLEN", K),
    ("TIME",),
    ("XADD", K, "*", "f", "v"),
    ("XINFO", "STREAM", K),
    ("XLEN", K),
    ("XRANGE", K, "-", "+"),
    ("XREAD", "STREAMS", K, "0"),
    ("XREVRANGE", K, "+", "-"),
    ("XTRIM", K, "MAXLEN", "1"),
    ("ZADD", K, "0", "v"),
    ("ZCARD", K),
    ("ZCOUNT", K, "0", "0"),
    ("ZRANGE", K, "0", "0"),
    ("ZRANGEBYSCORE", K, "0", "0"),
    ("ZRANK", K, "v"),
    ("ZREM", K, "v"),
    ("ZREMRANGEBYSCORE", K, "0", "0"),
    ("ZRANGEBYLEX", K, "-", "+"),
    ("ZREVRANGEBYLEX", K, "+", "-"),
    ("ZSCORE", K, "v"),
)
INFO: Final = ("INFO", "everything")
# A key of each kind that there is: records, and Celery's lists.
KEYS: Final = {f"{keys.PREFIX}:*": K, f"{keys.PREFIX}.*": keys.train_queue("any")}


async def missing_rights(redis: Redis, *, trusted: bool) -> str | None:
    """Of the user that we are to Redis, in words; None where nothing is missing. `trusted`: INFO is not needed."""
    if await _refused(redis, [], end="EXEC"):
        return "use MULTI and EXEC"
    if lacking := [pattern for pattern, key in KEYS.items() if await _refused(redis, [("GET", key), ("SET", key, "")])]:
        return f"touch the keys {', '.join(lacking)}"
    if refused := await _refused(redis, COMMANDS if trusted else (*COMMANDS, INFO)):
        return f"use {', '.join(refused)}"
    return None


async def _refused(redis: Redis, commands: Sequence[tuple[str, ...]], *, end: str = "DISCARD") -> list[str]:
    """The names of those that Redis says no to. It does so as they are queued, and here none is carried out."""
    pool = cast(Any, redis).connection_pool
    connection = await pool.get_connection()
    asked = [("MULTI",), *commands, (end,)]
    refused = []
    try:
        await connection.send_packed_command(connection.pack_commands(asked))
        for name, *rest in asked:
            try:
                await connection.read_response()
            except ResponseError as error:  # others are of a server that takes no writes just now
                if isinstance(error, NoPermissionError) or "NOPERM" in str(error):  # as an EXEC has it
                    refused.append(f"{name} {rest[0]}" if name in ("CLIENT", "SCRIPT", "XINFO") else name)
    except BaseException:
        await connection.disconnect()  # answers may still come on it
        raise
    finally:
        await pool.release(connection)
    return refused
