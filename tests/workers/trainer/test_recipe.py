"""A job as its trainer carries it out: stopped, resumed, swept, and given bad input."""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from services.contract.spec import ArchivePaths, TrainerSpec
from services.contract.timing import TrainerTiming
from tests.drawing import png, shapes, zipped
from tests.workers.trainer.lines import failure, from_checkpoint, leader, losses, trial_losses, validations
from workers.vision.backbone import Backbone
from workers.vision.device import candidates
from workers.vision.engines import Extractor

Archive = Callable[[bytes], ArchivePaths]
MakeSpec = Callable[..., TrainerSpec]
Run = Callable[..., list[Any]]


def test_a_second_run_computes_no_feature_and_gives_the_same_losses(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    spec = trainer_spec(archive(zipped(shapes(6, first=100))))
    cold, warm = run_trainer(spec), run_trainer(spec)
    messages = [line.message for line in warm if line.type == "phase" and line.message]
    assert messages[0].startswith("Features of 12 images: 12 cached, 0 computed")
    assert losses(cold) == losses(warm)


@pytest.mark.slow
def test_below_fp32_a_second_run_passes_nothing_either(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its temperature is fitted on fp32 features: those of what was held out are kept as well."""
    passed: list[str] = []

    def counted(extractor: Extractor, pixels: torch.Tensor) -> torch.Tensor:
        passed.append(extractor._where.split()[0])
        return compute(extractor, pixels)

    compute = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", counted)
    spec = trainer_spec(archive(zipped(shapes(6, first=200))), precision="bf16", cache=str(tmp_path / "cache"))
    cold = run_trainer(spec)
    assert set(passed) == {"bf16", "fp32"}
    passed.clear()
    warm = run_trainer(spec)
    assert passed == []
    assert cold[-1].temperature == warm[-1].temperature


@pytest.mark.parametrize("device", candidates())
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_stopped_anywhere_and_resumed_it_reports_what_it_would_have_reported(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, scaling: str, device: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {
        "hyperparameters": {"n_epochs": 1_000, "batch_size": 5, "learning_rate": 1e-3},
        "feature_scaling": scaling,
        "device": device,
        "cache": str(tmp_path / "cache"),
    }
    spec = trainer_spec(archive(zipped(shapes(6))), **asked)
    undisturbed = run_trainer(spec)
    first = run_trainer(spec, stop_at="metrics")
    stop = first[-1]
    assert stop.type == "checkpoint"
    assert 0 < stop.metrics.step < len(losses(undisturbed))

    resumed = run_trainer(from_checkpoint(spec, stop))
    assert losses(resumed)[0][0] == stop.metrics.step + 1
    assert dict(losses(first) + losses(resumed)) == pytest.approx(dict(losses(undisturbed)), abs=1e-6)
    assert leader(resumed).best == leader(undisturbed).best


@pytest.mark.parametrize("device", candidates()[:-1])  # the last one is the CPU
def test_on_any_device_the_curve_is_the_cpus(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, device: str, tmp_path: Path
) -> None:
    curves = []
    for name in (device, "cpu"):
        spec = trainer_spec(archive(zipped(shapes(12))), device=name, cache=str(tmp_path / name))
        curves.append(dict(losses(run_trainer(spec))))
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)


@pytest.mark.slow
def test_a_stop_while_features_are_computed_keeps_those_that_are(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    spec = trainer_spec(archive(zipped(shapes(20, first=200))))
    stopped = run_trainer(spec, stop_at="checkpoint")  # the first, before any batch is learned
    assert "features" not in [line.type for line in stopped], "it was stopped too late to show anything"
    usage = next(line.usage for line in run_trainer(spec) if line.type == "features")
    assert usage.hits > 0 < usage.misses
    assert usage.hits + usage.misses == 40


def test_a_backbone_that_was_prepared_for_other_weights_is_not_used(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, random_backbone: Backbone
) -> None:
    spec = trainer_spec(archive(zipped(shapes(4, first=700))), weights="random:7", hyperparameters={"n_epochs": 1})
    receipt = run_trainer(spec, spare=random_backbone)[-1].receipt
    assert receipt.weights == "random:7"
    assert receipt.weights_sha256 == Backbone(spec.prepared).sha256 != random_backbone.sha256


def test_early_stopping_ends_early_and_keeps_the_best_head(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    stopping = {"patience": 2, "metric": "val_accuracy"}
    hyperparameters = {"n_epochs": 500, "learning_rate": 1e-4}
    spec = trainer_spec(archive(zipped(shapes(6))), early_stopping=stopping, hyperparameters=hyperparameters)
    lines = run_trainer(spec)
    found = validations(lines)
    assert len(found) < 500
    best = leader(lines).best
    assert best.val_accuracy == max(found)
    assert len(found) == best.epoch + 2
    evaluation = next(line.evaluation for line in lines if line.type == "evaluation")
    assert evaluation.accuracy == best.val_accuracy


@pytest.mark.slow
def test_without_scaling_it_learns_while_features_are_computed_and_the_curve_is_the_same(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    hyperparameters = {"batch_size": 16, "n_epochs": 3, "learning_rate": 1e-3}
    told = TrainerTiming(flush=0.0, progress=60.0)  # each step in a line of its own
    spec = trainer_spec(archive(zipped(shapes(30, first=1000))), hyperparameters=hyperparameters, timing=told)
    cold, warm = run_trainer(spec), run_trainer(spec)
    types = [line.type for line in cold]
    assert types.index("metrics") < types.index("features")
    percents = [line.progress.percent for line in cold if line.type in ("phase", "metrics")]
    assert percents == sorted(percents)
    assert losses(cold) == losses(warm)
    found = [next(line for line in lines if line.type == "features") for lines in (cold, warm)]
    assert [(line.usage.hits, line.usage.misses) for line in found] == [(0, 60), (60, 0)]
    assert found[0].usage.seconds_saved == 0 < found[1].usage.seconds_saved


@pytest.mark.slow
def test_a_stop_while_it_learns_from_arriving_features_resumes_on_the_same_curve(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, tmp_path: Path
) -> None:
    hyperparameters = {"batch_size": 16, "n_epochs": 3, "learning_rate": 1e-3}
    training = archive(zipped(shapes(75, first=1100)))  # some batches are on their way when the stop comes
    spec = trainer_spec(training, hyperparameters=hyperparameters, cache=str(tmp_path / "cold"))
    first = run_trainer(spec, stop_at="metrics")
    stop = next(line for line in reversed(first) if line.type == "checkpoint")
    assert stop.metrics.step == len(losses(first)) > 0
    assert "features" not in [line.type for line in first], "it was stopped too late to show anything"
    resumed = run_trainer(from_checkpoint(spec, stop))
    undisturbed = run_trainer(spec)
    assert dict(losses(first) + losses(resumed)) == pytest.approx(dict(losses(undisturbed)), abs=1e-6)


def test_the_same_images_in_another_archive_order_and_split_need_no_second_pass(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    files = shapes(8, first=1200)
    run_trainer(trainer_spec(archive(zipped(files)), hyperparameters={"n_epochs": 1}))
    moved = {f"train/{path.split('/')[0]}/x{99 - i}.png": files[path] for i, path in enumerate(sorted(files))}
    lines = run_trainer(trainer_spec(archive(zipped(moved)), split=0.5, seed=9, hyperparameters={"n_epochs": 1}))
    found = next(line for line in lines if line.type == "features")
    assert (found.usage.hits, found.usage.misses) == (16, 0)


def test_a_sweep_tells_every_trial_and_exports_the_best(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    sweep = {"learning_rate": [1e-5, 1e-2], "batch_size": [4, 8]}
    training = archive(zipped(shapes(10)))
    common: dict[str, Any] = {"feature_scaling": "standard", "seed": 4}
    lines = run_trainer(trainer_spec(training, sweep=sweep, **common))
    told = next(line for line in lines if line.type == "evaluation")
    assert [trial.trial for trial in told.trials] == [0, 1, 2, 3]
    assert [trial.status for trial in told.trials] == ["done"] * 4
    assert all(trial.evaluation and trial.evaluation.labels and not trial.evaluation.confusion for trial in told.trials)
    (best,) = [trial for trial in told.trials if trial.leads]
    assert best.metrics.val_loss == min(trial.metrics.val_loss for trial in told.trials)
    assert told.evaluation.loss == best.evaluation.loss
    assert told.evaluation.confusion
    packs = [pack for line in lines if line.type == "metrics" for pack in line.steps]
    assert sorted(at for pack in packs for at in pack.at) == list(range(1, 61))  # 10 epochs of 4 and of 2 batches

    head = load_file(Path(trainer_spec(training).out) / lines[-1].exports["safetensors"])
    alone = run_trainer(trainer_spec(training, hyperparameters=best.hyperparameters, **common))
    single = load_file(Path(trainer_spec(training).out) / alone[-1].exports["safetensors"])
    assert torch.allclose(head["fc.weight"], single["fc.weight"], atol=1e-5)
    assert lines[-1].receipt.hyperparameters == best.hyperparameters


def test_a_sweep_stopped_in_the_middle_resumes_every_trial(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    sweep = {"learning_rate": [1e-4, 1e-3], "batch_size": [4, 5]}
    common: dict[str, Any] = {"sweep": sweep, "early_stopping": {"patience": 700}}
    spec = trainer_spec(archive(zipped(shapes(6))), hyperparameters={"n_epochs": 1500}, **common)
    undisturbed = run_trainer(spec)
    first = run_trainer(spec, stop_at="metrics")
    stop = first[-1]
    resumed = run_trainer(from_checkpoint(spec, stop))
    assert trial_losses(first + resumed) == pytest.approx(trial_losses(undisturbed), abs=1e-6)
    ends = [next(line for line in lines if line.type == "evaluation").trials for lines in (resumed, undisturbed)]
    assert ends[0] == ends[1]


def test_what_is_held_out_is_there_after_the_first_epoch(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    files = {
        f"{part}/{path}": content
        for part in ("train", "val", "test")
        for path, content in shapes(4, first=1400).items()
    }
    more = {f"test/circle/{i}.png": content for i, content in enumerate(shapes(3, ("circle",), first=1500).values())}
    lines = run_trainer(trainer_spec(archive(zipped(files | more)), hyperparameters={"n_epochs": 5}))
    told = [line.progress for line in lines if line.type == "metrics"]
    assert told[-1].phase == "training"
    assert next(line for line in lines if line.type == "evaluation").evaluation.images == 11
    features = next(line for line in lines if line.type == "features")
    assert (features.usage.hits, features.usage.misses) == (0, 11)  # three splits share eight images


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
    files = shapes(6) | {f"circle/broken-{number}.png": b"no image %d" % number for number in range(2)}
    found = failure(run_trainer(trainer_spec(archive(zipped(files)))))
    assert found.code == "data_unreadable"
    assert "circle/broken-1.png (no image format that is known)" in found.message
    lines = run_trainer(trainer_spec(archive(zipped(files)), max_unreadable=0.2, hyperparameters={"n_epochs": 1}))
    assert lines[-1].type == "done"


def test_one_unreadable_image_fails_a_small_set_only_where_none_may_be(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    files = shapes(6) | {"circle/broken.png": b"no image"}
    for share, ends in ((0.05, "done"), (0.0, "failed"), (0.05, "done")):  # from its tombstone too, with its reason
        lines = run_trainer(trainer_spec(archive(zipped(files)), max_unreadable=share, hyperparameters={"n_epochs": 1}))
        assert lines[-1].type == ends
        said = [line.message for line in lines if line.type in ("warning", "failed")]
        assert "circle/broken.png (no image format that is known)" in said[0]


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


@pytest.mark.parametrize("tested", [True, False])
def test_a_head_that_the_last_step_blew_up_is_no_model(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, tested: bool
) -> None:
    """No loss is looked at after it: each step times a million, and the seventh is beyond every float."""
    images = sorted(shapes(4, first=900).items())[:7]
    files = {f"train/{path}": content for path, content in images}
    files |= {f"test/{path}": content for path, content in images} if tested else {}
    recipe = {"learning_rate": 1000.0, "weight_decay": 1000.0, "momentum": 0.0, "n_epochs": 1, "batch_size": 1}
    found = failure(run_trainer(trainer_spec(archive(zipped(files)), split=0.0, hyperparameters=recipe)))
    assert found.code == "loss_diverged"
    assert "weights" in found.message


def test_a_changed_archive_fails_the_job(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, tmp_path: Path
) -> None:
    training = archive(zipped(shapes(3, first=300)))
    damaged = bytearray(Path(training.data).read_bytes())
    damaged[len(png(Image.new("RGB", (1, 1)))) + 40] ^= 0xFF
    Path(training.data).write_bytes(bytes(damaged))
    lines = run_trainer(trainer_spec(training, cache=str(tmp_path / "cache")))
    assert failure(lines).code == "data_unreadable"


def test_a_device_that_is_not_there_fails_the_job(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    assert failure(run_trainer(trainer_spec(archive(zipped(shapes(2))), device="cuda:7"))).code == "device_unavailable"


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_the_percent_of_a_job_on_known_images_is_its_share_of_steps(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run, scaling: str, tmp_path: Path
) -> None:
    asked = {"feature_scaling": scaling, "cache": str(tmp_path / "cache"), "hyperparameters": {"n_epochs": 4}}
    training = archive(zipped(shapes(8, first=400)))
    cold, warm = (run_trainer(trainer_spec(training, **asked)) for _ in range(2))

    assert next(line.progress.percent for line in cold if line.type == "metrics") >= 80
    percents = [line.progress.percent for line in warm if line.type in ("phase", "metrics")]
    assert percents[0] == 0
    assert all(earlier <= later for earlier, later in pairwise(percents))
    assert 0 <= next(line.progress for line in warm if line.type == "phase").percent < 1


def test_a_job_that_learned_nothing_says_so(archive: Archive, trainer_spec: MakeSpec, run_trainer: Run) -> None:
    """A loss that rises, and an accuracy that always saying one label has too."""
    hyperparameters = {"learning_rate": 30.0, "n_epochs": 3}
    lines = run_trainer(trainer_spec(archive(zipped(shapes(10))), hyperparameters=hyperparameters))
    assert lines[-1].type == "done"
    codes = {line.code: line.message for line in lines if line.type == "warning"}
    assert "above where it began" in codes["loss_rose"]
    assert 'feature_scaling="standard"' in codes["loss_rose"]


def test_a_job_no_better_than_the_largest_label_says_so(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    same = shapes(1)["circle/000.png"]
    files = {f"{label}/{n}.png": same for label, count in (("a", 10), ("b", 5)) for n in range(count)}
    lines = run_trainer(trainer_spec(archive(zipped(files)), labels=["a", "b"], split=0.4))
    said = next(line for line in lines if line.type == "warning")
    assert said.code == "no_better_than_chance"
    assert "always saying 'a'" in said.message


def test_a_job_that_nothing_could_be_held_out_for_says_so(
    archive: Archive, trainer_spec: MakeSpec, run_trainer: Run
) -> None:
    lines = run_trainer(trainer_spec(archive(zipped(shapes(1))), split=0.2))
    assert "no_validation" in [line.code for line in lines if line.type == "warning"]
