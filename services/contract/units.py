"""What recurs among the fields that are shown: a type with its unit or meaning, as the API's schema tells it."""

from typing import Annotated, TypeVar

from pydantic import Field

T = TypeVar("T")

Object = Annotated[T, Field(description="what this is")]
UnixTime = Annotated[int, Field(description="Unix time, s")]
Bytes = Annotated[int, Field(description="bytes")]
Sha256 = Annotated[str, Field(description="SHA-256 of its bytes, hex")]
Id = Annotated[str, Field(description="what it is of, and a ULID, as in file-…: ids sort by time")]

DeviceName = Annotated[str, Field(description="as torch names it: cuda:0, mps or cpu")]
DeviceKind = Annotated[str, Field(description="of devices: cuda, mps or cpu")]

# Of a head, as far as it is.
TrainLoss = Annotated[
    float | None, Field(description="of the last batch, nats (cross-entropy); null before the first step")
]
ValLoss = Annotated[
    float | None, Field(description="on what is held out, nats (cross-entropy); null before any epoch was validated")
]
ValAccuracy = Annotated[
    float | None, Field(description="on what is held out, 0 to 1; null before any epoch was validated")
]
