"""Trainers without a worker: an archive as an upload leaves it, a spec, a process that is given it."""

import subprocess
from pathlib import Path
from typing import Any

import psutil

from services.contract.dataset import write_index
from services.contract.events import LINE
from services.contract.spec import ArchivePaths, Prepared, TrainerSpec
from services.store.archives import list_archive

PREPARED = Prepared(device="cpu", weights="random:0", precision="fp32")
MEMORY = 4 * 1024**3  # more than any spare takes


def indexed(content: bytes, folder: Path) -> ArchivePaths:
    """An archive with its index, in `folder`."""
    (folder / "data").write_bytes(content)
    listing = list_archive(folder / "data")
    write_index(listing.images, folder / "index")
    return ArchivePaths(data=str(listing.data), index=str(folder / "index"))


def spec_of(training: ArchivePaths, **asked: Any) -> TrainerSpec:
    """`out` and `cache`, folders as text, must be among what is asked."""
    fields: dict[str, Any] = {
        "job": "ftjob-test",
        "tenant": "local",
        "training": training,
        "labels": ["circle", "square"],
        "num_labels": 2,
        "weights": "random:0",
    }
    return TrainerSpec.model_validate(fields | asked)


def is_idle(trainer: int) -> bool:
    """By its process id. It waits for its spec: it has torch, and takes no more time. Looks for half a second."""
    process = psutil.Process(trainer)
    return bool(process.memory_info().rss > 200e6 and process.cpu_percent(interval=0.5) == 0.0)


def carried_out(trainer: "subprocess.Popen[bytes]", spec: TrainerSpec) -> tuple[list[Any], int]:
    """What it said of a job that succeeds, and its memory at its most in bytes."""
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    trainer.stdin.write(spec.model_dump_json().encode() + b"\n")
    trainer.stdin.flush()
    process, memory, lines = psutil.Process(trainer.pid), 0, []
    for raw in trainer.stdout:
        lines.append(LINE.validate_json(raw))
        if lines[-1].type != "done":  # after it there may be no process to look at
            memory = max(memory, process.memory_info().rss)
    assert trainer.wait(10) == 0, lines[-1:]
    trainer.stdin.close()
    trainer.stdout.close()
    return lines, memory
