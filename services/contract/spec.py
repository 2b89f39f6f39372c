"""A job as it was resolved, and what a trainer is handed of it."""

from pydantic import JsonValue

from services.contract.asked import DEFAULT_SPLIT, BaseNetwork, Device, Limits
from services.contract.layout import Layout
from services.contract.preflight import EngineName
from services.contract.recipe import Hyperparameters, Precision, ResolvedRecipe, Strict
from services.contract.timing import UNSCALED, TrainerTiming
from services.contract.weights import DefaultWeights, JobWeights, WeightsSource

DEFAULT_CACHE_BYTES = 10 * 1024**3  # of features: five million images


class JobSpec(ResolvedRecipe):
    """A job as resolved and checked at submission: nothing in it is left to be decided but the worker.

    Its labels lie with its file, once for all jobs. Of each trial's steps, each `points_every`-th goes to the series.
    """

    model: BaseNetwork
    weights: JobWeights
    training_file: str
    validation_file: str | None
    layout: Layout | None = None
    index: str | None = None  # the training file's in that layout, which later rules do not touch
    device: Device
    priority: int
    limits: Limits
    suffix: str | None
    metadata: dict[str, str] | None
    asked: dict[str, JsonValue]
    points_every: int = 1


class ArchivePaths(Strict):
    """An archive and its index, by where they are: local paths, or URLs of objects."""

    data: str
    index: str


class Prepared(Strict):
    """What a trainer can have ready before it is given a job."""

    device: str
    weights: WeightsSource
    precision: Precision
    engine: EngineName = "torch"


class TrainerSpec(ResolvedRecipe):
    """All that a trainer is told, one line of JSON on its stdin."""

    job: str
    tenant: str
    training: ArchivePaths
    labels: list[str]
    validation: ArchivePaths | None = None
    split: float = DEFAULT_SPLIT
    seed: int = 0
    hyperparameters: Hyperparameters = Hyperparameters()
    precision: Precision = "fp32"
    device: str = "cpu"
    weights: WeightsSource = DefaultWeights()
    engine: EngineName = "torch"
    fingerprint: str = ""
    cache: str
    out: str
    cache_bytes: int = DEFAULT_CACHE_BYTES
    resume: str | None = None
    next_checkpoint: int = 0
    trace: str | None = None  # the traceparent of its attempt, where what it does is traced
    limits: Limits = Limits()
    timing: TrainerTiming = UNSCALED

    @property
    def prepared(self) -> Prepared:
        return Prepared(device=self.device, weights=self.weights, precision=self.precision, engine=self.engine)
