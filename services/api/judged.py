"""What a model does on each held-out image, read page by page from the file that its trainer left."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from services.contract.evaluation import JudgedImage, Judgement


@dataclass(frozen=True)
class JudgedFilter:
    """Which of them are wanted: all that is None is not asked for."""

    label: str | None = None
    predicted: str | None = None
    wrong: bool | None = None

    def wants(self, judged: Judgement) -> bool:
        return (
            self.label in (None, judged.label)
            and self.predicted in (None, judged.predicted)
            and self.wrong in (None, judged.label != judged.predicted)
        )


def judged_page(
    path: Path, file: str, wanted: JudgedFilter, *, after: int, limit: int
) -> tuple[list[JudgedImage], bool]:
    """Of those that are `wanted`, those behind the rank `after`; and whether there are more."""
    found = list(islice(_judged(path, file, wanted, after), limit + 1))
    return found[:limit], len(found) > limit


def _judged(path: Path, file: str, wanted: JudgedFilter, after: int) -> Iterator[JudgedImage]:
    with path.open(encoding="utf-8") as lines:
        for rank, line in enumerate(lines):
            if rank > after and wanted.wants(judged := Judgement(*json.loads(line))):
                yield JudgedImage(id=str(rank), file=file, **judged._asdict())
