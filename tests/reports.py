"""What workers report, as the tests make it up."""

from typing import Any

from services.contract.fleet import Worker
from services.contract.preflight import Arithmetic, DeviceReport
from services.contract.recipe import Precision


def worker(id: str, **changes: Any) -> Worker:
    """One that reports itself idle."""
    fields: dict[str, Any] = {
        "device": "cpu",
        "kind": "cpu",
        "status": "idle",
        "job": None,
        "started_at": 0,
        "seen_at": 0,
        "host": "h",
        "pid": 1,
        "version": "0",
        "preflight": [],
    }
    return Worker.model_validate({"id": id} | fields | changes)


def passed(device: str = "cpu") -> DeviceReport:
    """A preflight that found nothing wrong."""
    return DeviceReport(device=device, model=device, ok=True, checks=[], precisions=computed("fp32"), auto="fp32")


def computed(*precisions: Precision) -> dict[Precision, Arithmetic]:
    """By torch, each of them."""
    return {
        precision: Arithmetic(engine="torch", agreement=1.0, fingerprint=f"torch {precision}")
        for precision in precisions
    }
