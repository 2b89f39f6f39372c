"""What is asked of a job: the body of `POST /v1/fine_tuning/jobs`, what it resolves to, what a trainer is handed."""

from itertools import product
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

LearningRate = Annotated[FiniteFloat, Field(gt=0, le=1000)]
Momentum = Annotated[FiniteFloat, Field(ge=0, lt=1)]
WeightDecay = Annotated[FiniteFloat, Field(ge=0, le=1000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Schedule = Literal["constant", "cosine"]
Scaling = Literal["none", "standard"]
Precision = Literal["fp32", "bf16", "fp16"]
PRECISION: TypeAdapter[Precision] = TypeAdapter(Precision)
Export = Literal["pt", "safetensors"]
Device = Literal["auto", "cuda", "mps", "cpu"]
FileId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Weights = Annotated[str, StringConstraints(pattern=r"^(default|random:[0-9]{1,18})$")]
Auto = Literal["auto"]

BASE_LEARNING_RATE = 1e-2  # what OpenAI's `learning_rate_multiplier` multiplies
DEFAULT_SPLIT = 0.2
DEFAULT_CACHE_BYTES = 10 * 1024**3  # of features: five million images
MAX_TRIALS = 64
MAX_POINTS = 5_000_000  # losses of a sweep: Redis keeps them all, some 150 MB with its events
MAX_OUTPUTS = 65_536  # of all heads of a sweep together: their weights, momentum and best take 400 MB then


def conflict(param: str, message: str) -> PydanticCustomError:
    """Fields that contradict each other; `param` is the one to mend."""
    return PydanticCustomError("conflict", "{message}", {"param": param, "message": message})


class Strict(BaseModel):
    """Unknown fields and near-miss types are errors: a misspelt setting must not train the wrong model."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Hyperparameters(Strict):
    """As resolved: each one a number that the trainer uses."""

    learning_rate: LearningRate = BASE_LEARNING_RATE
    momentum: Momentum = 0.9
    weight_decay: WeightDecay = 0.0
    batch_size: BatchSize = 64
    n_epochs: Epochs = 10
    lr_schedule: Schedule = "constant"


class AskedHyperparameters(Strict):
    """As asked: each may be left out, and be "auto" wherever OpenAI allows it."""

    learning_rate: LearningRate | Auto | None = None
    learning_rate_multiplier: Annotated[FiniteFloat, Field(ge=1e-12, le=100_000)] | Auto | None = None
    momentum: Momentum | None = None
    weight_decay: WeightDecay | None = None
    batch_size: BatchSize | Auto | None = None
    n_epochs: Epochs | Auto | None = None
    lr_schedule: Schedule | None = None

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Self:
        if self.learning_rate is not None and self.learning_rate_multiplier is not None:
            raise conflict("learning_rate", "give learning_rate or learning_rate_multiplier, not both")
        return self

    def asked(self) -> dict[str, Any]:
        """What was really asked, without "auto", the multiplier turned into a rate."""
        fields = {name: getattr(self, name) for name in AskedHyperparameters.model_fields}
        given = {name: value for name, value in fields.items() if value not in (None, "auto")}
        multiplier = given.pop("learning_rate_multiplier", None)
        return given if multiplier is None else given | {"learning_rate": multiplier * BASE_LEARNING_RATE}


class Supervised(Strict):
    hyperparameters: AskedHyperparameters | None = None


class Method(Strict):
    type: Literal["supervised"] = "supervised"
    supervised: Supervised = Supervised()


class EarlyStopping(Strict):
    """Stop when `metric` has not improved by `min_delta` for `patience` epochs; the best head becomes the model."""

    patience: Annotated[int, Field(ge=1, le=100_000)] = 3
    min_delta: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    metric: Literal["val_loss", "val_accuracy"] = "val_loss"


class Sweep(Strict):
    """A grid: each combination is a trial, with a head of its own on the same features, first head and shuffles."""

    learning_rate: Annotated[list[LearningRate], Field(min_length=1, max_length=MAX_TRIALS)] | None = None
    momentum: Annotated[list[Momentum], Field(min_length=1, max_length=MAX_TRIALS)] | None = None
    weight_decay: Annotated[list[WeightDecay], Field(min_length=1, max_length=MAX_TRIALS)] | None = None
    batch_size: Annotated[list[BatchSize], Field(min_length=1, max_length=MAX_TRIALS)] | None = None

    @property
    def axes(self) -> dict[str, list[Any]]:
        return self.model_dump(exclude_none=True)

    def trials(self, others: Hyperparameters) -> list[Hyperparameters]:
        """Each point of the grid, the last axis fastest; what is not swept is as in `others`."""
        names, values = self.axes.keys(), self.axes.values()
        return [others.model_copy(update=dict(zip(names, point, strict=True))) for point in product(*values)]

    @model_validator(mode="after")
    def _is_a_grid(self) -> Self:
        if not self.axes:
            raise conflict("sweep", f"name at least one of {', '.join(Sweep.model_fields)}")
        for name, values in self.axes.items():
            if len(set(values)) < len(values):
                raise conflict(f"sweep.{name}", "a value stands there twice")
        if (count := prod(map(len, self.axes.values()))) > MAX_TRIALS:
            raise conflict("sweep", f"{count} trials are more than {MAX_TRIALS}")
        return self


def trials_of(hyperparameters: Hyperparameters, sweep: Sweep | None) -> list[Hyperparameters]:
    """A job without a sweep has one trial."""
    return sweep.trials(hyperparameters) if sweep else [hyperparameters]


class CheckpointPlan(Strict):
    every_epochs: Annotated[int, Field(ge=1, le=100_000)] = 1
    keep: Annotated[int, Field(ge=1, le=100)] = 5


class Limits(Strict):
    max_seconds: Annotated[FiniteFloat, Field(gt=0)] | None = None


class CreateJob(AskedHyperparameters):
    """A fine-tuning job, in OpenAI's form (`method` or `hyperparameters`) or in the plain one (the fields here)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "training_file": "file-01kax7k0000000000000000000",
                    "num_labels": 10,
                    "learning_rate": 0.01,
                    "momentum": 0.9,
                }
            ]
        }
    )

    model: Literal["resnet18"] = "resnet18"
    weights: Weights | None = Field(None, description='"default" (ImageNet) or "random:N"; HEADWAY_WEIGHTS if left out')
    training_file: FileId
    validation_file: FileId | None = None
    split: Annotated[FiniteFloat, Field(ge=0, lt=1)] | None = Field(
        None,
        description=f"share held out for validation, stratified; {DEFAULT_SPLIT} where no validation data is given",
    )
    num_labels: Annotated[int, Field(ge=2, le=100_000)] | Auto = "auto"
    method: Method | None = None
    hyperparameters: AskedHyperparameters | None = None
    feature_scaling: Scaling = "none"
    precision: Precision | Auto = Field(
        "auto", description='of the backbone; "auto" is the fastest that the worker\'s device passed its check with'
    )
    sweep: Sweep | None = None
    early_stopping: EarlyStopping | None = None
    checkpoints: CheckpointPlan = CheckpointPlan()
    export: list[Export] = ["pt"]
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    device: Device = "auto"
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    limits: Limits = Limits()
    suffix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _validation_comes_from_one_place(self) -> Self:
        if self.validation_file is not None and self.split:
            raise conflict("split", "give validation_file or split, not both")
        return self

    @model_validator(mode="after")
    def _each_hyperparameter_is_given_once(self) -> Self:
        given: dict[str, Any] = {}
        for form in self._forms():
            for name, value in form.asked().items():
                if given.setdefault(name, value) != value:
                    raise conflict(name, f"given twice, as {given[name]} and as {value}")
        return self

    @model_validator(mode="after")
    def _what_is_swept_is_not_given(self) -> Self:
        given = {name for form in self._forms() for name in form.asked()}
        for name in self.sweep.axes if self.sweep else {}:
            if name in given:
                raise conflict(name, f"give {name} or sweep.{name}, not both")
        return self

    def resolved(self) -> Hyperparameters:
        merged: dict[str, Any] = {}
        for form in self._forms():
            merged |= form.asked()
        return Hyperparameters(**merged)

    def _forms(self) -> list[AskedHyperparameters]:
        supervised = self.method.supervised.hyperparameters if self.method else None
        return [form for form in (self, self.hyperparameters, supervised) if form is not None]


class JobSpec(Strict):
    """A job as resolved and checked at submission: nothing in it is left to be decided but the worker."""

    model: str
    weights: Weights
    training_file: str
    validation_file: str | None
    split: float
    num_labels: int
    labels: list[str]
    hyperparameters: Hyperparameters
    feature_scaling: Scaling
    precision: Precision | Auto
    sweep: Sweep | None = None
    early_stopping: EarlyStopping | None
    checkpoints: CheckpointPlan
    export: list[Export]
    seed: int
    device: Device
    priority: int
    limits: Limits
    suffix: str | None
    metadata: dict[str, str] | None
    asked: dict[str, JsonValue]

    @property
    def trials(self) -> list[Hyperparameters]:
        return trials_of(self.hyperparameters, self.sweep)


class ArchivePaths(Strict):
    """An archive and its index, as local files."""

    data: str
    index: str


class Prepared(Strict):
    """What a trainer can have ready before it is given a job."""

    device: str
    weights: str
    precision: Precision


class TrainerSpec(Strict):
    """All that a trainer is told, one line of JSON on its stdin. Paths are local; `weights` names a source:
    "torchvision", "random:N" or the path of a state dict."""

    job: str
    tenant: str
    training: ArchivePaths
    validation: ArchivePaths | None = None
    split: float = DEFAULT_SPLIT
    labels: list[str]
    num_labels: int
    hyperparameters: Hyperparameters = Hyperparameters()
    feature_scaling: Scaling = "none"
    precision: Precision = "fp32"
    sweep: Sweep | None = None
    early_stopping: EarlyStopping | None = None
    checkpoints: CheckpointPlan = CheckpointPlan()
    export: list[Export] = ["pt"]
    seed: int = 0
    device: str = "cpu"
    weights: str = "torchvision"
    cache: str
    out: str
    cache_bytes: int = DEFAULT_CACHE_BYTES
    resume: str | None = None
    next_checkpoint: int = 0

    @property
    def prepared(self) -> Prepared:
        return Prepared(device=self.device, weights=self.weights, precision=self.precision)

    @property
    def trials(self) -> list[Hyperparameters]:
        return trials_of(self.hyperparameters, self.sweep)
