"""What a worker found out about its device before it took a job."""

from pydantic import BaseModel, TypeAdapter

from services.contract.recipe import Precision


class Check(BaseModel):
    check: str
    ok: bool
    detail: str


class DeviceReport(BaseModel):
    """`precisions` are those whose features agree with fp32, with the cosine found; `auto` is the one that a job gets
    that asks for none. Both only where `ok`."""

    device: str
    model: str
    ok: bool
    checks: list[Check]
    precisions: dict[Precision, float] = {}
    auto: Precision | None = None


DEVICE_REPORTS: TypeAdapter[list[DeviceReport]] = TypeAdapter(list[DeviceReport])


def kind_of(device: str) -> str:
    """`cuda` of `cuda:1`."""
    return device.split(":")[0]
