"""Trainers without a worker: an archive as an upload leaves it, a spec, and its attempt, here or as a process."""

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from services.contract.lines import LINE
from services.contract.spec import ArchivePaths, Prepared, TrainerSpec
from services.contract.weights import RandomWeights
from services.datasets.index import write_index
from services.datasets.listing import list_upload
from workers.spare import TRAINER
from workers.trainer import process
from workers.trainer.report import Report
from workers.vision.backbone import Backbone
from workers.zygote import Process, Starter, Zygote

PREPARED = Prepared(device="cpu", weights=RandomWeights(0), precision="fp32")
MEMORY = 4 * 1024**3  # more than any spare takes


def indexed(content: bytes, folder: Path) -> ArchivePaths:
    """An archive with its index, in `folder`."""
    (folder / "data").write_bytes(content)
    listing = list_upload(folder / "data")
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


class Heard(io.StringIO):
    """What a trainer says, and whether it has said a line of a type yet."""

    @property
    def lines(self) -> list[Any]:
        return [LINE.validate_json(line) for line in self.getvalue().splitlines()]

    def has(self, type: str) -> bool:
        return f'"type":"{type}"' in self.getvalue()


def attempted(spec: TrainerSpec, *, stop_at: str | None = None, spare: Backbone | None = None) -> tuple[list[Any], int]:
    """In this process: what it said, and its exit status. It is asked to stop once it has said a line of `stop_at`."""
    heard = Heard()
    status = process.attempt(spec, Report(heard), lambda: stop_at is not None and heard.has(stop_at), spare)
    return heard.lines, status


def new_trainer() -> Process:
    return Starter()(TRAINER, "--tethered")


@contextmanager
def trainers_from(nursery: Path) -> Iterator[Callable[[], Process]]:
    """Forked there, one a call."""
    with closing(Zygote.at(nursery)) as zygote:
        yield lambda: zygote.fork(TRAINER, "--tethered")


def is_idle(trainer: int) -> bool:
    """By its process id. It waits for its spec: it has torch, and takes no more time. Looks for half a second."""
    found = psutil.Process(trainer)
    return bool(found.memory_info().rss > 200e6 and found.cpu_percent(interval=0.5) == 0.0)


def carried_out(trainer: Process, spec: TrainerSpec) -> tuple[list[Any], int]:
    """What it said of a job that succeeds, and its memory at its most in bytes."""
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    trainer.stdin.write(spec.model_dump_json().encode() + b"\n")
    trainer.stdin.flush()
    running, memory, lines = psutil.Process(trainer.pid), 0, []
    for raw in trainer.stdout:
        lines.append(LINE.validate_json(raw))
        if lines[-1].type != "done":  # after it there may be no process to look at
            memory = max(memory, running.memory_info().rss)
    assert trainer.wait(10) == 0, lines[-1:]
    trainer.stdin.close()
    trainer.stdout.close()
    return lines, memory
