"""Who may help with this trainer's pass, as its supervisor tells of them on stdin."""

import queue
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from services.contract.shards import PlanLine, SharedNews, TakenLine
from workers.trainer.report import Report
from workers.vision.segments import Key

PLAN = "plan"


class SupervisorsHelpers:
    """`hear` may be called by any thread. `out` is the folder for what the supervisor takes."""

    def __init__(self, report: Report, out: Path) -> None:
        self._report, self._out = report, out
        self._news: queue.SimpleQueue[SharedNews] = queue.SimpleQueue()

    def hear(self, line: str) -> None:
        with suppress(ValueError):  # a word that a later supervisor may know
            self._news.put(SharedNews.model_validate_json(line))

    def begin(self, keys: Sequence[Key], size: int) -> None:
        with suppress(OSError):  # then nobody helps
            (self._out / PLAN).write_bytes(b"".join(keys))
            self._report.say(PlanLine(path=PLAN, shards=-(-len(keys) // size), size=size))

    def take(self, shard: int) -> None:
        self._report.say(TakenLine(shard=shard))

    def news(self) -> SharedNews | None:
        with suppress(queue.Empty):
            return self._news.get_nowait()
        return None
