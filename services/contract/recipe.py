"""What is trained, and how: the one place where a hyperparameter or an option of the training is spelled.

A `Recipe` is what a job is asked for, what its record and its trainer's spec hold, what its view and its receipt show.
"""

from itertools import product
from math import prod
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

LearningRate = Annotated[FiniteFloat, Field(gt=0, le=1000)]
Momentum = Annotated[FiniteFloat, Field(ge=0, lt=1)]
WeightDecay = Annotated[FiniteFloat, Field(ge=0, le=1000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Schedule = Literal["constant", "cosine"]
FeatureScaling = Annotated[
    Literal["none", "standard"],
    Field(
        description='"standard" trains on features of mean 0 and deviation 1; "none" on raw ones, as the tutorial does'
    ),
]
Precision = Literal["fp32", "bf16", "fp16"]
Export = Literal["pt", "safetensors", "onnx", "zip"]
Auto = Literal["auto"]
T = TypeVar("T")

BASE_LEARNING_RATE = 1e-2  # what OpenAI's `learning_rate_multiplier` multiplies
MAX_TRIALS = 64


def conflict(param: str, message: str) -> PydanticCustomError:
    """Fields that contradict each other; `param` is the one to mend."""
    return PydanticCustomError("conflict", "{message}", {"param": param, "message": message})


class Strict(BaseModel):
    """Unknown fields and near-miss types are errors: a misspelt setting must not train the wrong model."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def fields_of(self, kind: type[BaseModel]) -> dict[str, Any]:
        """Of this model, those that `kind` has too."""
        return {name: getattr(self, name) for name in kind.model_fields}


# --- one trial -----------------------------------------------------------------------------------------------------


class Hyperparameters(Strict):
    """As resolved: each one a value that the trainer uses."""

    learning_rate: LearningRate = Field(BASE_LEARNING_RATE, description='of SGD; with "cosine", that of the first step')
    momentum: Momentum = Field(0.9, description="of SGD, as torch.optim.SGD has it")
    nesterov: bool = Field(False, description="look ahead along the momentum, which must be above 0")
    weight_decay: WeightDecay = Field(0.0, description="times each weight and bias, added to its gradient")
    batch_size: BatchSize = Field(64, description="images a step")
    n_epochs: Epochs = Field(10, description="times that each training image is seen")
    lr_schedule: Schedule = Field("constant", description='"cosine" falls to 0 over all steps, in half a period')


class AskedHyperparameters(Hyperparameters):
    """As asked: what is left out, null, or "auto" where OpenAI allows that, takes its default."""

    MAY_BE_AUTO: ClassVar[frozenset[str]] = frozenset(
        {"learning_rate", "learning_rate_multiplier", "batch_size", "n_epochs"}
    )

    learning_rate_multiplier: Annotated[FiniteFloat, Field(ge=1e-12, le=100_000)] | None = Field(
        None, description=f"OpenAI's: times {BASE_LEARNING_RATE} is the learning rate; give one of the two"
    )

    def asked(self) -> dict[str, Any]:
        """What was really asked, the multiplier turned into a rate."""
        given = {name: getattr(self, name) for name in Hyperparameters.model_fields if name in self.model_fields_set}
        if self.learning_rate_multiplier is not None:
            given["learning_rate"] = self.learning_rate_multiplier * BASE_LEARNING_RATE
        return given

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_left_open(cls, data: Any) -> Any:
        def is_open(name: str, value: Any) -> bool:
            return name in AskedHyperparameters.model_fields and (
                value is None or (value == "auto" and name in cls.MAY_BE_AUTO)
            )

        return {n: v for n, v in data.items() if not is_open(n, v)} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Self:
        if "learning_rate" in self.model_fields_set and self.learning_rate_multiplier is not None:
            raise conflict("learning_rate", "give learning_rate or learning_rate_multiplier, not both")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """That they may be left open stands in the API's schema too."""
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for name in AskedHyperparameters.model_fields:
            auto = [{"const": "auto", "type": "string"}] if name in cls.MAY_BE_AUTO else []
            about = {
                key: properties[name].pop(key) for key in ("default", "description", "title") if key in properties[name]
            }
            kinds = [kind for kind in properties[name].pop("anyOf", [properties[name]]) if kind != {"type": "null"}]
            properties[name] = {"anyOf": [*kinds, *auto, {"type": "null"}], **about}
        return schema


# --- trials together -----------------------------------------------------------------------------------------------


Axis = Annotated[
    Annotated[list[T], Field(min_length=1, max_length=MAX_TRIALS)] | None,
    Field(description=f"each value is tried, in {MAX_TRIALS} trials at most; null: not swept"),
]


class Sweep(Strict):
    """A grid: each combination is a trial, with a head of its own on the same features, first head and shuffles."""

    learning_rate: Axis[LearningRate] = None
    momentum: Axis[Momentum] = None
    weight_decay: Axis[WeightDecay] = None
    batch_size: Axis[BatchSize] = None

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


# --- the recipe ----------------------------------------------------------------------------------------------------


class EarlyStopping(Strict):
    """Stop when `metric` has not improved by `min_delta` for `patience` epochs; the best head becomes the model."""

    patience: int = Field(3, ge=1, le=100_000, description="epochs in a row without an improvement, then a trial stops")
    min_delta: FiniteFloat = Field(
        0.0, ge=0, description="an improvement is more than this: nats of val_loss, or share of val_accuracy"
    )
    metric: Literal["val_loss", "val_accuracy"] = Field(
        "val_loss", description="what has to improve: the loss down, or the accuracy up"
    )


class CheckpointPlan(Strict):
    every_epochs: int = Field(
        1, ge=1, le=100_000, description="epochs from one to the next; more where those take less than a second"
    )
    keep: int = Field(5, ge=1, le=100, description="how many of the last; the first and the best stay beside them")


LabelWeights = Annotated[
    dict[str, Annotated[FiniteFloat, Field(ge=1e-6, le=1e6)]], Field(min_length=1, max_length=10_000)
]


class Recipe(Strict):
    """The options that stand as they were asked for, beside the hyperparameters."""

    feature_scaling: FeatureScaling = "none"
    class_weights: Literal["balanced"] | LabelWeights | None = Field(
        None,
        description="of each label's images in the loss, as in F.cross_entropy(weight=…): by label, where one that is "
        'not named has 1; or "balanced", which gives each label the same say',
    )
    precision: Precision | Auto = Field(
        "auto", description='of the backbone; "auto" is the fastest that the worker\'s device passed its check with'
    )
    max_unreadable: Annotated[FiniteFloat, Field(ge=0, le=1)] = Field(
        0.05,
        description="share of the images that may be unreadable; more fail the job, one alone never, unless it is 0",
    )
    sweep: Sweep | None = Field(None, description="a grid of trials; null: one trial")
    early_stopping: EarlyStopping | None = Field(
        None, description="null: all epochs are trained, and the last head is the model"
    )
    checkpoints: CheckpointPlan = Field(CheckpointPlan(), description="when they are written, and which are kept")
    export: list[Export] = Field(
        ["pt"],
        max_length=8,
        description="the model's forms, beside its head's safetensors: a state dict for torchvision (pt), a graph "
        "from pixels to probabilities (onnx), that graph with its labels, a card and a script (zip)",
    )


class ResolvedRecipe(Recipe):
    """All that decides what a job trains, once its data is known."""

    num_labels: int = Field(description="outputs of the head")
    split: float = Field(description="share held out for validation, 0 to 1")
    seed: int = Field(description="of the first head, of the hold-out and of each epoch's order")
    hyperparameters: Hyperparameters = Field(description="of its one trial, or of the one that became the model")

    @property
    def trials(self) -> list[Hyperparameters]:
        return trials_of(self.hyperparameters, self.sweep)


class Supervised(Strict):
    hyperparameters: AskedHyperparameters | None = Field(None, description="the same as in the plain form")


class Method(Strict):
    type: Literal["supervised"] = Field("supervised", description="the only one there is")
    supervised: Supervised = Field(Supervised(), description="what it takes")


class AskedRecipe(AskedHyperparameters, Recipe):
    """A recipe as it is asked for: in OpenAI's form (`method` or `hyperparameters`), or in the plain one."""

    # The record's default is the tutorial's; a body's is what learns on whatever backbone.
    feature_scaling: FeatureScaling = "standard"
    method: Method | None = Field(None, description="OpenAI's form of the hyperparameters")
    hyperparameters: AskedHyperparameters | None = Field(
        None, description="OpenAI's older form of them; what is given twice must agree"
    )

    def resolved(self) -> Hyperparameters:
        merged: dict[str, Any] = {}
        for form in self._forms():
            merged |= form.asked()
        return Hyperparameters(**merged)

    @property
    def trials(self) -> list[Hyperparameters]:
        return trials_of(self.resolved(), self.sweep)

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

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if any(trial.nesterov and not trial.momentum for trial in self.trials):
            raise conflict("nesterov", "it looks ahead along the momentum: give a momentum above 0")
        return self

    def _forms(self) -> list[AskedHyperparameters]:
        supervised = self.method.supervised.hyperparameters if self.method else None
        return [form for form in (self, self.hyperparameters, supervised) if form is not None]
