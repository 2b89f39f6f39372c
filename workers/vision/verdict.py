"""Preflight's verdict, kept for the next start on the same device, driver, processor and versions."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from services.contract.preflight import DeviceReport
from workers.vision.device import cores, describe, driver, processor

PACKAGES = ("headway", "torch", "openvino", "simplejpeg", "pillow", "numpy")


def kept_or_made(
    name: str, folder: Path, holds: Callable[[DeviceReport], bool], make: Callable[[], DeviceReport]
) -> DeviceReport:
    """The verdict that was kept, where it still `holds`; else the one that `make` reaches, kept if it is good."""
    try:
        path = folder / f"{_surroundings(name)}.json"
    except Exception:  # whatever a device raises that does not open
        return make()
    with suppress(Exception):  # likewise, and whatever a file may raise
        kept = DeviceReport.model_validate_json(path.read_bytes())
        if holds(kept):
            return kept
    report = make()
    if report.ok:
        with suppress(OSError):  # then the next start takes as long
            folder.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(report.model_dump_json())
            draft.replace(path)
    return report


def _surroundings(name: str) -> str:
    """Of all that a verdict rests on."""
    facts = [name, describe(name), driver(name), processor(), cores(), platform.python_version(), torch.version.cuda]
    return hashlib.sha256(json.dumps([*facts, *map(_version, PACKAGES)]).encode()).hexdigest()[:24]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
