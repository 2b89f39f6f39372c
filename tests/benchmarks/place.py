"""Where it is measured, and how often."""

from dataclasses import dataclass
from functools import cache

from services.contract.preflight import Arithmetic
from services.contract.recipe import Precision
from services.contract.spec import Prepared
from tests.trainers import PREPARED
from workers.vision.agreement import arithmetic
from workers.vision.device import native, open_device


@dataclass(frozen=True)
class Place:
    runs: int
    device: str
    photos: int  # of a whole job
    images: list[int]

    @property
    def fast(self) -> list[Precision]:
        """The precision below fp32 that "auto" takes here, if any."""
        return native(open_device(self.device))[:1]

    def prepared(self, precision: Precision = "fp32") -> Prepared:
        """With the engine that preflight chooses here."""
        engine = _computed(self.device)[precision].engine
        return PREPARED.model_copy(update={"device": self.device, "precision": precision, "engine": engine})


@cache
def _computed(device: str) -> dict[Precision, Arithmetic]:
    return arithmetic(open_device(device))
