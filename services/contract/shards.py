"""One job's pass over its images, shared: what its owner's trainer, supervisors and a helper's trainer say of it."""

from typing import Literal

from pydantic import BaseModel, Field, FiniteFloat

from services.contract.recipe import Strict
from services.contract.spec import ArchivePaths, Prepared
from services.contract.timing import UNSCALED, TrainerTiming

SHARD = 64  # unique images at least: few, so that who dies costs little
MOST_SHARDS = 16_384  # of a pass: larger ones have larger shards
FEWEST = 4  # shards of a pass that is worth sharing


def shard_size(images: int, batch: int) -> int:
    """Images in each shard of a pass, but for the last: whole batches of its device."""
    least = max(SHARD, -(-images // MOST_SHARDS))
    return batch * -(-least // batch)


class PlanLine(BaseModel):
    """The owner's trainer: what is to be computed lies at `path`, sha256s of 32 bytes, in the order of need."""

    type: Literal["plan"] = "plan"
    path: str
    shards: int = Field(ge=1, le=MOST_SHARDS + 1)
    size: int = Field(ge=1)


class TakenLine(BaseModel):
    """The owner's trainer: it begins with this shard."""

    type: Literal["taken"] = "taken"
    shard: int = Field(ge=0, le=MOST_SHARDS)


class ReadyLine(BaseModel):
    """A helper's trainer: it has what it needs, and waits for shards."""

    type: Literal["ready"] = "ready"


class SegmentLine(BaseModel):
    """A helper's trainer: this shard's features lie at `path`, in its folder; its device took `seconds`."""

    type: Literal["segment"] = "segment"
    shard: int
    path: str
    seconds: FiniteFloat = Field(ge=0)


class SharedNews(Strict):
    """To the owner's trainer: shards that helpers compute just now, and local paths of segments that came since."""

    leased: list[int]
    brought: list[str]


class HelperSpec(Strict):
    """All that a helper's trainer is told, the first line on its stdin; each that follows is a shard's number."""

    prepared: Prepared
    archives: list[ArchivePaths]
    plan: str
    size: int
    out: str
    timing: TrainerTiming = UNSCALED
