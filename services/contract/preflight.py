"""What a worker found out about its device before it took a job."""

from pydantic import BaseModel, Field, TypeAdapter

from services.contract.recipe import Precision
from services.contract.units import DeviceName


class Check(BaseModel):
    check: str = Field(description="what was checked")
    ok: bool = Field(description="whether it passed")
    detail: str = Field(description="what came out, or what went wrong")


class DeviceReport(BaseModel):
    """What preflight found out about one device."""

    device: DeviceName
    model: str = Field(description="the name of a GPU's model, else the device's; \"\" where it does not open")
    ok: bool = Field(description="all checks passed")
    checks: list[Check] = Field(description="in their order")
    precisions: dict[Precision, float] = Field(
        {}, description="that jobs may ask for: the cosine of their features to those in float64; {} unless ok"
    )
    auto: Precision | None = Field(None, description="that a job gets which asks for none; null unless ok")


DEVICE_REPORTS: TypeAdapter[list[DeviceReport]] = TypeAdapter(list[DeviceReport])


def kind_of(device: str) -> str:
    """`cuda` of `cuda:1`."""
    return device.split(":")[0]
