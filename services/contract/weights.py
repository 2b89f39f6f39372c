"""Where the backbone's weights come from: a name that everyone may say, or a file that only this machine knows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

RANDOM = re.compile(r"random:([0-9]{1,18})")


@dataclass(frozen=True)
class DefaultWeights:
    """torchvision's, trained on ImageNet."""

    def __str__(self) -> str:
        return "default"


@dataclass(frozen=True)
class RandomWeights:
    """A seeded, untrained backbone: for tests, and for trials where the trained weights cannot be had."""

    seed: int

    def __str__(self) -> str:
        return f"random:{self.seed}"


@dataclass(frozen=True)
class WeightsFile:
    """A resnet18's state dict."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


NamedWeights: TypeAlias = DefaultWeights | RandomWeights
AnyWeights: TypeAlias = NamedWeights | WeightsFile


def named_weights(weights: Any) -> NamedWeights:
    """From the name that crosses the API. Raises ValueError with a sentence."""
    if isinstance(weights, DefaultWeights | RandomWeights):
        return weights
    if weights == "default":
        return DefaultWeights()
    if isinstance(weights, str) and (found := RANDOM.fullmatch(weights)):
        return RandomWeights(int(found[1]))
    raise ValueError('give "default", or "random:N" with a number for N')


def any_weights(weights: Any) -> AnyWeights:
    """From a setting. Raises ValueError with a sentence."""
    if isinstance(weights, WeightsFile):
        return weights
    try:
        return named_weights(weights)
    except ValueError:
        if str(weights).partition(":")[0] == "random":
            raise ValueError('a random backbone needs a seed, as in "random:0"') from None
        return WeightsFile(Path(str(weights)))


AS_TEXT = PlainSerializer(str, return_type=str)
# A job's: a path never crosses the API.
JobWeights = Annotated[
    NamedWeights,
    PlainValidator(named_weights),
    AS_TEXT,
    WithJsonSchema({"type": "string", "pattern": f"^(default|{RANDOM.pattern})$"}),
]
# A worker's and its trainer's.
WeightsSource = Annotated[AnyWeights, PlainValidator(any_weights), AS_TEXT, WithJsonSchema({"type": "string"})]
