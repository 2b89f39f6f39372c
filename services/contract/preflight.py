"""What a worker found out about its device before it took a job."""

import time
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.contract.recipe import Precision
from services.contract.units import DeviceName

EngineName = Literal["torch", "openvino"]


class Check(BaseModel):
    check: str = Field(description="what was checked")
    ok: bool = Field(description="whether it passed")
    detail: str = Field(description="what came out, or what went wrong")


class Arithmetic(BaseModel):
    """How a device computes features at one precision."""

    model_config = ConfigDict(frozen=True)

    engine: EngineName = Field(description="that computes them: the fastest of those that agree")
    agreement: float = Field(
        description="the lowest cosine of a photo's features to the plain network's in float64, both less the mean"
    )
    images_per_second: float | None = Field(
        None, description="of the backbone alone, in preflight; null where there was no choice of engines"
    )
    fingerprint: str = Field(
        description="of the features of eight fixed photos, by decoder and engine: who has the same computes the same"
    )


class DeviceReport(BaseModel):
    """What preflight found out about one device."""

    device: DeviceName
    model: str = Field(description="the name of a GPU's model, else the device's; \"\" where it does not open")
    ok: bool = Field(description="all checks passed")
    checks: list[Check] = Field(description="in their order")
    checked_at: int = Field(
        default_factory=lambda: int(time.time()),
        description="Unix time, s, of the whole check; later starts see only that it still holds",
    )
    precisions: Mapping[Precision, Arithmetic] = Field(
        {}, description="that jobs may ask for, and how each is computed; {} unless ok"
    )
    auto: Precision | None = Field(None, description="that a job gets which asks for none; null unless ok")


DEVICE_REPORTS: TypeAdapter[list[DeviceReport]] = TypeAdapter(list[DeviceReport])


def kind_of(device: str) -> str:
    """`cuda` of `cuda:1`."""
    return device.split(":")[0]
