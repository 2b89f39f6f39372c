"""The trainer as a process: a spec on stdin, lines on stdout; stopped, resumed, and given bad input."""

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from services.contract.events import LINE
from services.contract.spec import ArchivePaths, TrainerSpec
from tests.drawing import png, shapes, zipped
from tests.waiting import wait_until

Archive = Callable[[bytes], ArchivePaths]
MakeSpec = Callable[..., TrainerSpec]
Run = Callable[[TrainerSpec], list[Any]]


def started(spec: TrainerSpec, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.trainer", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(spec.model_dump_json() + "\n")
    process.stdin.flush()
    return process


def losses(lines: list[Any]) -> list[tuple[int, float]]:
    return [pair for line in lines if line.type == "metrics" for pair in zip(line.step, line.train_loss, strict=True)]


def failure(lines: list[Any]) -> Any:
    assert lines[-1].type == "failed", lines[-1]
    return lines[-1]


def test_a_job_goes_from_images_to_a_model(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    spec = trainer_spec(archive(zipped(shapes(10))), feature_scaling="standard", num_labels=3)
    lines = run_trainer(spec)
    assert [step for step, _ in losses(lines)] == list(range(1, 11))
    first = next(line for line in lines if line.type == "checkpoint")
    assert (first.number, first.metrics.step) == (0, 0)
    assert losses(lines)[0][0] > first.metrics.step
    done = lines[-1]
    assert done.type == "done"
    head = load_file(Path(spec.out) / done.exports["safetensors"])
    assert head["fc.weight"].shape == (3, 512)
    assert done.manifest["images"] == {"train": 16, "val": 4, "test": 0}
    evaluation = next(line.evaluation for line in lines if line.type == "evaluation")
    assert evaluation.images == 4
    assert sum(map(sum, evaluation.confusion)) == 4


def test_a_second_run_computes_no_feature_and_gives_the_same_losses(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    spec = trainer_spec(archive(zipped(shapes(6, first=100))))
    cold, warm = run_trainer(spec), run_trainer(spec)
    messages = [line.message for line in warm if line.type == "phase" and line.message]
    assert messages[0].startswith("Features of 12 images: 12 cached, 0 computed")
    assert losses(cold) == losses(warm)


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_stopped_anywhere_and_resumed_it_reports_what_it_would_have_reported(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, scaling: str
) -> None:
    hyperparameters = {"n_epochs": 2000, "batch_size": 5, "learning_rate": 1e-3}
    spec = trainer_spec(archive(zipped(shapes(6))), hyperparameters=hyperparameters, feature_scaling=scaling)
    undisturbed = run_trainer(spec)
    process = started(spec)
    assert process.stdout is not None
    heard: list[str] = []
    while not (heard and LINE.validate_json(heard[-1]).type == "metrics"):
        heard.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    heard += process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 75
    first = [LINE.validate_json(line) for line in heard]
    stop = first[-1]
    assert stop.type == "checkpoint"
    assert 0 < stop.metrics.step < len(losses(undisturbed))

    resumed = run_trainer(
        spec.model_copy(update={"resume": str(Path(spec.out) / stop.path), "next_checkpoint": stop.number + 1})
    )
    assert losses(resumed)[0][0] == stop.metrics.step + 1
    assert dict(losses(first) + losses(resumed)) == pytest.approx(dict(losses(undisturbed)), abs=1e-6)
    assert resumed[-1].best == undisturbed[-1].best


def test_a_stop_while_features_are_computed_keeps_those_that_are(archive: Archive, trainer_spec: MakeSpec) -> None:
    spec = trainer_spec(archive(zipped(shapes(60, first=200))))
    process = started(spec)
    assert process.stdout is not None
    wait_until(lambda: '"images":32' in process.stdout.readline())  # type: ignore[union-attr]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    again = started(spec)
    line = ""
    while "total_images" not in line:
        line = again.stdout.readline()  # type: ignore[union-attr]
    again.kill()
    again.communicate()
    remaining = LINE.validate_json(line)
    assert remaining.type == "phase"
    assert 0 < (remaining.progress.total_images or 0) < 120


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


def test_early_stopping_ends_early_and_keeps_the_best_head(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    stopping = {"patience": 2, "metric": "val_accuracy"}
    hyperparameters = {"n_epochs": 500, "learning_rate": 1e-4}
    spec = trainer_spec(archive(zipped(shapes(6))), early_stopping=stopping, hyperparameters=hyperparameters)
    lines = run_trainer(spec)
    validations = [line.val_accuracy for line in lines if line.type == "metrics" and line.val_accuracy is not None]
    assert len(validations) < 500
    best = lines[-1].best
    assert best.val_accuracy == max(validations)
    assert len(validations) == best.epoch + 2
    evaluation = next(line.evaluation for line in lines if line.type == "evaluation")
    assert evaluation.accuracy == best.val_accuracy


# --- bad input -----------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_read_is_named_and_left_out(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    files = shapes(12) | {"circle/broken.png": b"no image"}
    spec = trainer_spec(archive(zipped(files)), split=0.0, hyperparameters={"batch_size": 25, "n_epochs": 1})
    for _ in range(2):  # the second time the tombstone says it
        lines = run_trainer(spec)
        warning = next(line for line in lines if line.type == "warning")
        assert "circle/broken.png" in warning.message
        assert "1 of 25" in warning.message
        assert len(losses(lines)) == 1


def test_too_many_unreadable_images_fail_the_job(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    files = shapes(6) | {"circle/broken.png": b"no image"}
    found = failure(run_trainer(trainer_spec(archive(zipped(files)))))
    assert found.code == "data_unreadable"
    assert "circle/broken.png" in found.message


def test_a_label_without_a_readable_image_is_named_and_one_label_is_no_classifier(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    files = shapes(10) | {"void/0.png": b"no image"}
    labels = {"labels": ["circle", "square", "void"], "num_labels": 3, "split": 0.0}
    lines = run_trainer(trainer_spec(archive(zipped(files)), **labels))
    assert "No training image of 'void' can be read" in [line for line in lines if line.type == "warning"][1].message
    files = shapes(24, ("circle",)) | {"square/0.png": b"no image"}
    found = failure(run_trainer(trainer_spec(archive(zipped(files)), split=0.0)))
    assert "fewer than two labels" in found.message


def test_copies_of_an_unreadable_image_count_as_often_as_they_lie_there(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    files = shapes(12) | {f"circle/broken-{copy}.png": b"the same" for copy in range(2)}
    for _ in range(2):  # cold, then from the tombstone
        assert failure(run_trainer(trainer_spec(archive(zipped(files))))).code == "data_unreadable"


def test_an_image_of_too_many_pixels_is_not_decoded(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    content = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(content, "png")
    files = shapes(12) | {"circle/huge.png": content.getvalue()}
    lines = run_trainer(trainer_spec(archive(zipped(files)), hyperparameters={"n_epochs": 1}))
    warning = next(line for line in lines if line.type == "warning")
    assert "30000 × 30000 pixels" in warning.data["unreadable"]["circle/huge.png"]


def test_weights_that_cannot_be_had_fail_the_job_and_say_how_to_provide_them(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, tmp_path: Path
) -> None:
    training = archive(zipped(shapes(2)))
    torch.save([1, 2, 3], tmp_path / "list.pth")
    for bad in (tmp_path / "missing.pth", Path(training.data), tmp_path / "list.pth"):
        found = failure(run_trainer(trainer_spec(training, weights=str(bad))))
        assert found.code == "weights_unavailable"
        assert "HEADWAY_WEIGHTS=" in found.message
        assert "random:0" in found.message
        assert str(tmp_path) not in found.message


def test_a_diverged_loss_fails_the_job_and_says_what_to_lower(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    spec = trainer_spec(archive(zipped(shapes(6))), hyperparameters={"learning_rate": 1000.0, "weight_decay": 1000.0})
    found = failure(run_trainer(spec))
    assert found.code == "loss_diverged"
    assert "learning_rate" in found.message


def test_a_changed_archive_fails_the_job(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    training = archive(zipped(shapes(3, first=300)))
    damaged = bytearray(Path(training.data).read_bytes())
    damaged[len(png(Image.new("RGB", (1, 1)))) + 40] ^= 0xFF
    Path(training.data).write_bytes(bytes(damaged))
    assert failure(run_trainer(trainer_spec(training))).code == "data_unreadable"


def test_a_device_that_is_not_there_fails_the_job(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    assert failure(run_trainer(trainer_spec(archive(zipped(shapes(2))), device="cuda:7"))).code == "device_unavailable"
