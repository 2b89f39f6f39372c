"""Preflight's verdict, kept for the next start on the same device, driver, processor and versions."""

import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

import torch

from services.contract.preflight import DeviceReport
from services.contract.timing import UNSCALED
from workers.vision.device import cores, describe, driver, processor

PACKAGES = ("headway", "torch", "openvino", "simplejpeg", "torchcodec", "pillow", "numpy")


def kept_or_made(
    name: str, folder: Path, holds: Callable[[DeviceReport], bool], make: Callable[[], DeviceReport]
) -> DeviceReport:
    """The verdict that was kept, where it still `holds`; else the one that `make` reaches, kept if it is good."""
    try:
        path = folder / f"{_surroundings(name)}.json"
    except Exception:  # whatever a device raises that does not open
        return make()
    if (kept := _kept(path, holds)) is not None:
        return kept
    with _alone(path.with_suffix(".lock")):  # workers that start together choose the same engines
        if (kept := _kept(path, holds)) is not None:
            return kept
        report = make()
        if report.ok:
            with suppress(OSError):  # then the next start takes as long
                draft = path.with_suffix(f".{os.getpid()}")
                draft.write_text(report.model_dump_json())
                draft.replace(path)
        return report


def _kept(path: Path, holds: Callable[[DeviceReport], bool]) -> DeviceReport | None:
    with suppress(Exception):  # whatever a file, or a device that no longer opens, may raise
        kept = DeviceReport.model_validate_json(path.read_bytes())
        return kept if holds(kept) else None
    return None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of this machine at a time, where the folder can be written; a lock goes with who holds it. One that
    hangs is not waited for."""
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file, until = stack.enter_context(path.open("w")), time.monotonic() + UNSCALED.stuck
            while not _locked(file) and time.monotonic() < until:
                time.sleep(UNSCALED.flush)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _surroundings(name: str) -> str:
    """Of all that a verdict rests on."""
    facts = [name, describe(name), driver(name), processor(), cores(), platform.python_version(), torch.version.cuda]
    return hashlib.sha256(json.dumps([*facts, *map(_version, PACKAGES)]).encode()).hexdigest()[:24]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
