"""What a model does on each held-out image, read page by page from the file that its trainer left."""

import json
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice

from services.api.pages import LOOKED_AT
from services.contract.evaluation import JudgedImage, Judgement
from services.located import Where, opened

PIECE = 256 * 1024  # bytes that are read at a time


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
    where: Where, file: str, wanted: JudgedFilter, *, after: int, limit: int
) -> tuple[list[JudgedImage], str | None]:
    """Of those that are `wanted`, those behind the rank `after`; and the rank to go on after, if there are more."""
    found: list[JudgedImage] = []
    with TextIOWrapper(opened(where, PIECE), encoding="utf-8") as lines:
        for rank, line in enumerate(islice(lines, after + 1, None), after + 1):
            if len(found) == limit or rank - after > LOOKED_AT:
                return found, str(rank - 1)
            if wanted.wants(judged := Judgement(*json.loads(line))):
                found.append(JudgedImage(id=str(rank), file=file, **judged._asdict()))
    return found, None
