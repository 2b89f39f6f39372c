"""The Lua scripts: one file a transition; a job's are behind one prelude, handed the table of `transitions`."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from redis.exceptions import ReadOnlyError

from services.contract.transitions import ENDED, HANDED_BACK, MOVES, OWNED, REQUESTS
from services.store.commands import Redis, Value
from services.store.connection import Patience
from services.store.migration import VERSION
from services.store.totals import Count

T = TypeVar("T")

FOLDER = Path(__file__).with_name("lua")  # in `job/` the transitions, which share a prelude
EVENTS_CAP = 10_000  # entries a stream keeps; older ones go, and the record keeps `trimmed_to`
FEED_CAP = 10_000  # entries that a tenant's feed keeps, and a few more: some 100 bytes each
EVENTS_BYTES = 16 * 1024**2  # likewise, of all entries together
DELIVERIES_CAP = 10_000  # that a tenant's webhooks have, sent ones too: some 300 bytes each
LOSSES_CAP = 3  # attempts in a row without a new checkpoint; then the job fails


class Answer(StrEnum):
    """The first word of every script's answer."""

    OK = "ok"
    FENCED = "fenced"  # another attempt owns the job now: stop
    GONE = "gone"  # there is no such job
    REFUSED = "refused"  # the job's status does not allow it
    WAITS = "waits"  # the tenant has, or does, as much as it may
    MISMATCH = "mismatch"  # the job waits for another kind of worker


class Scripts:
    """Calls a script by its name: `await scripts("claim", keys, args)` → (Answer, rest).

    Each may be repeated, so a reply that was lost on the wire is simply asked for again, while `patience` lasts.
    """

    def __init__(self, redis: Redis, patience: Patience) -> None:
        self._redis, self._patience = redis, patience
        texts = {path.stem: path.read_text() for path in FOLDER.glob("*.lua")}
        texts |= {path.stem: _with_prelude(path) for path in (FOLDER / "job").glob("[!_]*.lua")}
        self._scripts = {name: redis.register_script(text) for name, text in texts.items()}

    async def __call__(
        self, name: str, keys: Sequence[str], args: Sequence[Value], *, patience: float | None = None
    ) -> tuple[Answer, list[bytes]]:
        answer, *rest = await self.persistently(lambda: self._scripts[name](keys=keys, args=args), patience=patience)
        return Answer(answer.decode()), rest

    async def persistently(self, call: Callable[[], Awaitable[T]], *, patience: float | None = None) -> T:
        """Anything else that may be repeated, such as a read, with the same patience."""
        return await self._patience(lambda: self._once(call), seconds=patience)

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        """After a failover our connections may still lead to the old primary: the next try makes new ones."""
        try:
            return await call()
        except ReadOnlyError:
            await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise


def _with_prelude(path: Path) -> str:
    """Shebang first (it carries the script's flags), then the prelude, then the body."""
    shebang, _, body = path.read_text().partition("\n")
    return "\n".join([shebang, PRELUDE, body])


def _table() -> str:
    """As Lua spells it: to parse JSON in each call took a third of a renewal's time (measured)."""
    return _spelled(
        {
            "moves": {status: {to: True for to in sorted(after)} for status, after in MOVES.items()},
            "requests": REQUESTS,
            "handed_back": HANDED_BACK,
            "owned": {status: True for status in sorted(OWNED)},
            "ended": {status: True for status in sorted(ENDED)},
            "events_cap": EVENTS_CAP,
            "events_bytes": EVENTS_BYTES,
            "feed_cap": FEED_CAP,
            "deliveries_cap": DELIVERIES_CAP,
            "losses_cap": LOSSES_CAP,
            "version": VERSION,
            "counts": {name: True for name in sorted(Count)},
        }
    )


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'[{_spelled(key)}] = {_spelled(of)}' for key, of in sorted(value.items()))}}}"
    return json.dumps(value)


PRELUDE = (FOLDER / "job" / "_prelude.lua").read_text().replace("{{TABLE}}", _table())
