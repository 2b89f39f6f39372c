"""Whole jobs as the worker runs them, a trainer process each, against the tutorial's loop on the same images.

Every epoch of the tutorial's loop costs the same, so E of them are its start and E times its one measured epoch.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from services.contract.spec import ArchivePaths, TrainerSpec
from tests.benchmarks.parts import Figures, note, photos
from tests.benchmarks.place import Place
from tests.drawing import shapes, zipped
from tests.trainers import MEMORY, carried_out, indexed, is_idle, new_trainer, spec_of
from tests.waiting import wait_until
from workers.spare import Spare
from workers.zygote import Starter

SWEEP = {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3], "momentum": [0.0, 0.5, 0.9, 0.95]}
READY_WITHIN = 60.0


def against_the_tutorial(place: Place) -> Figures:
    """JPEGs, no validation: cold jobs of 1, 10 and 25 epochs, and one of 25 on known images, against the loop."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        files = photos(place.photos)
        training = indexed(zipped(files), folder)
        for path, content in files.items():
            target = folder / "images" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for _ in range(place.runs):
            whole, epoch = _naive(folder / "images", place.device)
            naive = {epochs: whole + (epochs - 1) * epoch for epochs in (1, 10, 25)}
            note(found, "tutorial's loop, an epoch, s", epoch)
            for epochs in (1, 10, 25):
                seconds = _cold(place, training, epochs)
                note(found, f"cold job, {epochs} epochs, s", seconds)
                note(found, f"tutorial / cold job, {epochs} epochs", naive[epochs] / seconds)
            for precision in place.fast:
                seconds = _cold(place, training, 10, precision=precision)
                note(found, f"cold job, 10 epochs in {precision}, s", seconds)
                note(found, f"tutorial / cold job, 10 epochs in {precision}", naive[10] / seconds)
            seconds = _warm(place, training, 25)
            note(found, "job of 25 epochs on known images, spare ready, s", seconds)
            note(found, "tutorial / job on known images, 25 epochs", naive[25] / seconds)
    return found


def sweeps(place: Place) -> Figures:
    """16 trials of 10 epochs against one, on JPEGs: cold, and on known images with a spare ready."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        training = indexed(zipped(photos(place.photos)), Path(name))
        for _ in range(place.runs):
            one, many = (_cold(place, training, 10, split=0.25, sweep=sweep) for sweep in (None, SWEEP))
            note(found, "sweep of 16 / one job, cold", many / one)
            one, many = (_warm(place, training, 10, split=0.25, sweep=sweep) for sweep in (None, SWEEP))
            note(found, "sweep of 16 / one job, known images", many / one)
    return found


def images_grow(place: Place, count: int) -> Figures:
    """Small drawn images, cold and warm: seconds, and the trainer's memory at its most."""
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        training = indexed(zipped(shapes(count // 2)), folder)
        found: Figures = {}
        for way in ("cold", "known"):
            spec = _spec(place, training, 10, folder, folder / "cache", labels=["circle", "square"])
            began = time.monotonic()
            _, memory = carried_out(new_trainer(), spec)
            found[f"{count:,} images, {way}, s"] = [time.monotonic() - began]
            found[f"{count:,} images, {way}, peak memory, MB"] = [memory / 1e6]
        return found


def _naive(folder: Path, device: str) -> tuple[float, float]:
    """Seconds of the whole process with one epoch, and of the epoch."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.benchmarks.naive", str(folder), "1", device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.monotonic() - began, float(done.stdout)


def _cold(place: Place, training: ArchivePaths, epochs: int, **more: Any) -> float:
    """From the start of a trainer to its end, with an empty cache."""
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        began = time.monotonic()
        carried_out(new_trainer(), _spec(place, training, epochs, Path(name), Path(name), **more))
        return time.monotonic() - began


def _warm(place: Place, training: ArchivePaths, epochs: int, **more: Any) -> float:
    """From the spec to the end, of a trainer that waited, on features that are known."""
    cache = Path(training.data).parent / "cache"
    spare = Spare(place.prepared(), MEMORY, Starter())
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        if not cache.exists():
            carried_out(new_trainer(), _spec(place, training, 1, Path(name), cache, **more))
        spare.prepare()
        trainer = spare.take()
        wait_until(lambda: is_idle(trainer.pid), seconds=READY_WITHIN)
        began = time.monotonic()
        carried_out(trainer, _spec(place, training, epochs, Path(name), cache, **more))
        return time.monotonic() - began


def _spec(place: Place, training: ArchivePaths, epochs: int, out: Path, cache: Path, **more: Any) -> TrainerSpec:
    asked: dict[str, Any] = {"labels": ["a", "b"], "split": 0.0, "hyperparameters": {"n_epochs": epochs}}
    prepared = place.prepared(more.get("precision", "fp32"))
    asked |= prepared.model_dump(mode="json", include={"device", "precision", "engine"})
    return spec_of(training, out=str(out), cache=str(cache), **asked | more)
