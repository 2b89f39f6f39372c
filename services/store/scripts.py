"""The Lua scripts: one file a transition, each behind the same prelude and handed the table of `transitions`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.contract.transitions import ENDED, HANDED_BACK, MOVES, OWNED, REQUESTS
from services.store.connection import Redis, persistently

FOLDER = Path(__file__).with_name("lua")
EVENTS_CAP = 10_000  # entries a stream keeps; older ones go, and the record keeps `trimmed_to`
LOSSES_CAP = 3  # attempts in a row without a new checkpoint; then the job fails


class Answer(StrEnum):
    """The first word of every script's answer."""

    OK = "ok"
    FENCED = "fenced"  # another attempt owns the job now: stop
    GONE = "gone"  # there is no such job
    REFUSED = "refused"  # the job's status does not allow it
    MISMATCH = "mismatch"  # the job waits for another kind of worker


class Scripts:
    """Calls a script by its name: `await scripts("claim", keys, args)` → (Answer, rest).

    Each may be repeated, so a reply that was lost on the wire is simply asked for again, for `patience` seconds.
    """

    def __init__(self, redis: Redis, *, patience: float) -> None:
        self._patience = patience
        self._scripts = {path.stem: redis.register_script(_text(path)) for path in FOLDER.glob("[!_]*.lua")}

    async def __call__(
        self, name: str, keys: list[str], args: list[Any], *, patience: float | None = None
    ) -> tuple[Answer, list[bytes]]:
        seconds = self._patience if patience is None else patience
        answer, *rest = await persistently(lambda: self._scripts[name](keys=keys, args=args), seconds=seconds)
        return Answer(answer.decode()), rest


def _text(path: Path) -> str:
    """Shebang first (it carries the script's flags), then the prelude, then the body."""
    shebang, _, body = path.read_text().partition("\n")
    return "\n".join([shebang, PRELUDE, body])


def _table() -> str:
    return json.dumps(
        {
            "moves": {status: {to: True for to in sorted(after)} for status, after in MOVES.items()},
            "requests": REQUESTS,
            "handed_back": HANDED_BACK,
            "owned": {status: True for status in sorted(OWNED)},
            "ended": {status: True for status in sorted(ENDED)},
            "events_cap": EVENTS_CAP,
            "losses_cap": LOSSES_CAP,
        },
        sort_keys=True,
    )


PRELUDE = (FOLDER / "_prelude.lua").read_text().replace("{{TABLE}}", _table())
