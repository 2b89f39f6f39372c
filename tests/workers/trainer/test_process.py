"""The trainer as a process: a spec on stdin, lines on stdout, signals, a tether, an exit status."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from services.contract.lines import EXIT_STOPPED, LINE
from services.contract.model import ImageCounts
from services.contract.spec import ArchivePaths, TrainerSpec
from tests.drawing import shapes, zipped
from tests.workers.trainer.lines import from_checkpoint, losses

Archive = Callable[[bytes], ArchivePaths]
MakeSpec = Callable[..., TrainerSpec]
Run = Callable[..., list[Any]]


def started(spec: TrainerSpec, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.trainer", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(spec.model_dump_json() + "\n")
    process.stdin.flush()
    return process


def carried_out(spec: TrainerSpec) -> list[Any]:
    """All that a process says of a job that succeeds."""
    process = started(spec)
    heard, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [LINE.validate_json(line) for line in heard.splitlines()]


def stopped_at_the_first_metrics(spec: TrainerSpec) -> list[Any]:
    """What it said until it had stopped."""
    process = started(spec)
    assert process.stdout is not None
    heard: list[str] = []
    while not (heard and LINE.validate_json(heard[-1]).type == "metrics"):
        heard.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    heard += process.stdout.readlines()  # communicate() would miss what was read ahead
    process.communicate(timeout=60)
    assert process.returncode == EXIT_STOPPED
    return [LINE.validate_json(line) for line in heard]


@pytest.mark.slow
def test_a_job_goes_from_images_to_a_model(archive: Archive, trainer_spec: MakeSpec) -> None:
    spec = trainer_spec(archive(zipped(shapes(10))), feature_scaling="standard", num_labels=3)
    lines = carried_out(spec)
    assert [step for step, _ in losses(lines)] == list(range(1, 11))
    first = next(line for line in lines if line.type == "checkpoint")
    assert (first.number, first.metrics.step) == (0, 0)
    assert losses(lines)[0][0] > first.metrics.step
    done = lines[-1]
    assert done.type == "done"
    head = load_file(Path(spec.out) / done.exports["safetensors"])
    assert head["fc.weight"].shape == (3, 512)
    assert done.receipt.images == ImageCounts(train=16, val=4, test=0)
    evaluation = next(line.evaluation for line in lines if line.type == "evaluation")
    assert evaluation.images == 4
    assert sum(map(sum, evaluation.confusion)) == 4


@pytest.mark.slow
def test_a_sigterm_in_the_middle_is_a_checkpoint_and_the_curve_goes_on_from_it(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, tmp_path: Path
) -> None:
    hyperparameters = {"n_epochs": 10_000, "batch_size": 5, "learning_rate": 1e-3}
    spec = trainer_spec(archive(zipped(shapes(6))), hyperparameters=hyperparameters, cache=str(tmp_path / "cache"))
    first = stopped_at_the_first_metrics(spec)
    stop = first[-1]
    assert stop.type == "checkpoint"
    assert stop.metrics.step > 0
    epochs = stop.metrics.step // 2 + 100  # of two steps each
    shorter = spec.model_copy(update={"hyperparameters": spec.hyperparameters.model_copy(update={"n_epochs": epochs})})
    resumed, undisturbed = run_trainer(from_checkpoint(shorter, stop)), run_trainer(shorter)
    assert losses(resumed)[0][0] == stop.metrics.step + 1
    assert dict(losses(first) + losses(resumed)) == pytest.approx(dict(losses(undisturbed)), abs=1e-6)


@pytest.mark.slow
def test_a_tethered_trainer_ends_when_its_supervisor_is_gone(archive: Archive, trainer_spec: MakeSpec) -> None:
    spec = trainer_spec(archive(zipped(shapes(6))), hyperparameters={"n_epochs": 100_000, "batch_size": 2})
    process = started(spec, "--tethered")
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    process.stdin.close()
    began = time.monotonic()
    while process.stdout.read(65536):
        pass
    process.wait(10)
    process.stdout.close()
    assert process.returncode == 1
    assert time.monotonic() - began < 10
