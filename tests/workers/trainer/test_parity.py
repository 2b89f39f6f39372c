"""The trainer against the plain loop, where design and chaos allow to ask: per-step loss within 1e-4, in fp32."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from services.contract.errors import LossDiverged
from services.contract.lines import LINE, CheckpointLine
from services.contract.recipe import Hyperparameters, Sweep
from services.contract.spec import ArchivePaths, TrainerSpec
from services.contract.timing import TrainerTiming
from services.contract.weights import RandomWeights
from tests.drawing import shapes, zipped
from tests.workers.trainer.reference import plain_loop, reference_loop, standardised
from workers.trainer import head
from workers.trainer.order import orders
from workers.trainer.report import Report
from workers.trainer.state import TrainingState, fresh
from workers.trainer.stop import Stopped
from workers.trainer.table import Table
from workers.trainer.train import Training
from workers.vision import backbone
from workers.vision.arrays import Integers
from workers.vision.heads import Head
from workers.vision.images import normalised, pixels

STABLE: list[dict[str, Any]] = [
    {"hyperparameters": {"learning_rate": 1e-3}, "feature_scaling": "none"},
    {"hyperparameters": {}, "feature_scaling": "standard"},
    {"hyperparameters": {"weight_decay": 1e-2, "batch_size": 7, "n_epochs": 4}, "feature_scaling": "standard"},
    {"hyperparameters": {"nesterov": True, "weight_decay": 1e-2}, "feature_scaling": "standard"},
]


class Ledger(Report):
    """A report that only keeps the losses, by trial."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        super().__init__(self.out)
        self.losses: dict[int, list[float]] = {}

    def steps(self, trials: Sequence[int], at: int, step: int, losses: Sequence[float]) -> None:
        for trial, loss in zip(trials, losses, strict=True):
            self.losses.setdefault(trial, []).append(loss)
        super().steps(trials, at, step, losses)


def trained(
    spec: TrainerSpec, table: Table, val: Table | None = None
) -> tuple[dict[int, list[float]], Training, TrainingState]:
    ledger = Ledger()
    training = Training(spec, table, val, ledger, lambda: False)
    return ledger.losses, training, training.run()


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., TrainerSpec]:
    def spec(**changes: Any) -> TrainerSpec:
        nowhere = ArchivePaths(data="", index="")
        fields: dict[str, Any] = {"job": "", "tenant": "", "training": nowhere, "cache": "", "out": str(tmp_path)}
        labels = [str(d) for d in range(10)]
        return TrainerSpec.model_validate(fields | {"labels": labels, "num_labels": 10, "seed": 3} | changes)

    return spec


@pytest.mark.parametrize("settings", STABLE)
def test_the_loop_is_the_reference_loop(spec: Callable[..., TrainerSpec], digits: Table, settings: Any) -> None:
    asked = spec(**settings)
    losses, _, state = trained(asked, digits)
    features = standardised(digits.features) if asked.feature_scaling == "standard" else digits.features
    wanted, wanted_head = reference_loop(features, digits.labels, 10, asked.hyperparameters, asked.seed)
    nudged = torch.nextafter(features, torch.full_like(features, math.inf))
    shifted, _ = reference_loop(nudged, digits.labels, 10, asked.hyperparameters, asked.seed)
    assert max(abs(a - b) for a, b in zip(wanted, shifted, strict=True)) < 1e-5, "the reference itself is chaotic here"
    assert max(abs(a - b) for a, b in zip(losses[0], wanted, strict=True)) < 1e-4
    assert torch.equal(state.head(0).layer()(features).argmax(1), wanted_head(features).argmax(1))


def test_at_the_chaotic_defaults_each_step_is_the_references_from_the_same_head(
    spec: Callable[..., TrainerSpec], digits: Table
) -> None:
    asked = spec(hyperparameters={"n_epochs": 3})
    training, hp = Training(asked, digits, None, Ledger(), lambda: False), asked.hyperparameters
    (bucket,) = training.state.buckets
    for order in orders(asked, len(digits)):
        for start in range(0, len(order), hp.batch_size):
            batch = order[start : start + hp.batch_size]
            twin, momentum = bucket.stack.head(0).copy().layer(), bucket.stack.momentum(0).copy()
            optimizer = torch.optim.SGD(twin.parameters(), lr=hp.learning_rate, momentum=hp.momentum)
            optimizer.state[twin.weight]["momentum_buffer"] = torch.from_numpy(momentum.weight)
            optimizer.state[twin.bias]["momentum_buffer"] = torch.from_numpy(momentum.bias)
            loss = F.cross_entropy(twin(digits.features[batch]), digits.labels[batch])
            loss.backward()
            optimizer.step()
            training.step(bucket, batch)
            assert training.state.standings[0].train_loss == pytest.approx(loss.item(), abs=1e-4)
            assert torch.allclose(bucket.stack.head(0).layer().weight, twin.weight, atol=1e-5)


@pytest.mark.parametrize("asked", ["balanced", {"3": 5.0, "7": 0.25}])
@pytest.mark.parametrize("settings", STABLE)
def test_class_weights_are_those_of_cross_entropy(
    spec: Callable[..., TrainerSpec], digits: Table, settings: Any, asked: Any
) -> None:
    kept = (digits.labels != 3) | (torch.arange(len(digits)) % 3 == 0)  # not the same number of each
    few = Table(digits.features[kept], digits.labels[kept], digits.readable[kept])
    job = spec(class_weights=asked, **settings)
    losses, _, _ = trained(job, few)
    features = standardised(few.features) if job.feature_scaling == "standard" else few.features
    counts = torch.bincount(few.labels, minlength=10).float()
    weight = len(few) / (10 * counts) if asked == "balanced" else torch.ones(10)
    for label, value in ({} if asked == "balanced" else asked).items():
        weight[int(label)] = value
    wanted, _ = reference_loop(features, few.labels, 10, job.hyperparameters, job.seed, weight)
    plain, _ = reference_loop(features, few.labels, 10, job.hyperparameters, job.seed)
    assert max(abs(a - b) for a, b in zip(losses[0], wanted, strict=True)) < 1e-4
    assert max(abs(a - b) for a, b in zip(losses[0], plain, strict=True)) > 1e-3


def test_scaling_is_by_the_first_readable_images_of_the_first_epochs_order(spec: Callable[..., TrainerSpec]) -> None:
    """The others may still be on their way: they are scaled as they come."""
    generator = torch.Generator().manual_seed(1)
    features, labels = (
        torch.randn(1300, 512, generator=generator) * 3 + 1,
        torch.randint(10, (1300,), generator=generator),
    )
    readable = torch.rand(1300, generator=generator) > 0.01
    asked, arrived = spec(feature_scaling="standard", hyperparameters={"n_epochs": 1}), []

    def arrive(indices: Integers) -> None:
        arrived.append(len(indices))

    training = Training(asked, Table(features, labels, readable, arrive), None, Ledger(), lambda: False)
    order = next(orders(asked, 1300))
    first = np.sort(order[readable.numpy()[order]][:512])
    wanted = head.Scaler.of(features[first])
    assert torch.equal(training.state.scaler.mean, wanted.mean)
    assert torch.equal(training.state.scaler.std, wanted.std)
    assert max(arrived) < 1300
    state = training.run()
    assert state.at == math.ceil(1300 / asked.hyperparameters.batch_size)


@pytest.mark.slow
def test_the_whole_network_run_every_epoch_gives_the_same_losses_and_predictions(
    archive: Callable[[bytes], ArchivePaths],
    trainer_spec: Callable[..., TrainerSpec],
    run_trainer: Callable[[TrainerSpec], list[Any]],
) -> None:
    files = shapes(4)
    hp = Hyperparameters(learning_rate=1e-3, n_epochs=2, batch_size=4)
    spec = trainer_spec(archive(zipped(files)), split=0.0, hyperparameters=hp, seed=1)
    lines = run_trainer(spec)
    losses = [loss for line in lines if line.type == "metrics" for pack in line.steps for loss in pack.train_loss[0]]

    model, wanted, graded = naive_loop(files, hp, seed=1)
    assert max(abs(a - b) for a, b in zip(losses, wanted, strict=True)) < 1e-4
    assert graded == {"fc.weight", "fc.bias"}

    exported = resnet18(num_classes=2)
    exported.load_state_dict(torch.load(Path(spec.out) / "model.pt", weights_only=True))
    frozen = backbone.load(RandomWeights(0)).state_dict()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in exported.state_dict().items() if name in frozen)
    images = normalised(torch.stack([pixels(files[path]) for path in sorted(files)]))
    with torch.inference_mode():
        assert torch.allclose(exported.eval()(images), model(images), atol=1e-3)
        assert torch.equal(exported(images).argmax(1), model(images).argmax(1))


def naive_loop(files: dict[str, bytes], hp: Hyperparameters, seed: int) -> tuple[nn.Module, list[float], set[str]]:
    """The tutorial's: every parameter frozen, a new `fc`, the whole network for every batch of every epoch."""
    images = normalised(torch.stack([pixels(files[path]) for path in sorted(files)]))  # (n, 3, 224, 224)
    labels = torch.tensor([int(path.startswith("square")) for path in sorted(files)])
    torch.manual_seed(0)
    model = resnet18(weights=None).eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    torch.manual_seed(seed)
    model.fc = nn.Linear(512, 2)
    losses = plain_loop(model, images, labels, hp, seed)
    return model, losses, {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_the_folded_head_gives_on_raw_features_what_the_trained_one_gives_on_scaled_ones(
    spec: Callable[..., TrainerSpec], digits: Table
) -> None:
    _, _, state = trained(spec(feature_scaling="standard"), digits)
    folded, head = state.scaler.folded(state.head(0)), state.head(0).layer()
    assert torch.allclose(folded(digits.features), head(state.scaler(digits.features)), atol=1e-4)


# --- a sweep is its jobs ---------------------------------------------------------------------------------------------

SWEEP = {
    "learning_rate": [1e-3, 1e-2],
    "momentum": [0.0, 0.9],
    "weight_decay": [0.0, 0.1],
    "batch_size": [16, 64],
}


@pytest.fixture
def halves(digits: Table) -> tuple[Table, Table]:
    """Training images, and others to judge by."""
    val = torch.arange(len(digits)) % 4 == 0
    return tuple(Table(digits.features[m], digits.labels[m], digits.readable[m]) for m in (~val, val))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "more", [{}, {"early_stopping": {"patience": 2, "metric": "val_accuracy"}}, {"class_weights": {"3": 4.0}}], ids=str
)
def test_every_trial_of_a_sweep_is_the_same_job_alone(
    spec: Callable[..., TrainerSpec], halves: tuple[Table, Table], more: dict[str, Any]
) -> None:
    asked = spec(hyperparameters={"n_epochs": 8}, feature_scaling="standard", sweep=SWEEP, **more)
    losses, _, state = trained(asked, *halves)
    assert len(asked.trials) == len(state.standings) == 16
    for trial, hyperparameters in enumerate(asked.trials):
        single = spec(hyperparameters=hyperparameters, feature_scaling="standard", **more)
        alone, _, alone_state = trained(single, *halves)
        assert losses[trial] == pytest.approx(alone[0], abs=1e-5)
        assert torch.allclose(state.head(trial).layer().weight, alone_state.head(0).layer().weight, atol=1e-5)
        ours, theirs = state.standings[trial], alone_state.standings[0]
        assert (ours.status, ours.epoch, ours.step) == (theirs.status, theirs.epoch, theirs.step)
        assert ours.best and theirs.best
        assert ours.best.val_loss == pytest.approx(theirs.best.val_loss, abs=1e-5)
    if "early_stopping" in more:
        assert len({standing.epoch for standing in state.standings}) > 1, "all stopped at once: this shows nothing"


def test_the_best_trial_on_validation_leads(spec: Callable[..., TrainerSpec], halves: tuple[Table, Table]) -> None:
    asked = spec(hyperparameters={"n_epochs": 8}, feature_scaling="standard", sweep=SWEEP)
    _, training, state = trained(asked, *halves)
    losses = [standing.val_loss for standing in state.standings]
    assert losses[training.ranking.leader()] == min(losses)  # type: ignore[type-var]
    assert [trial.leads for trial in training.standings()].count(True) == 1


def test_a_trial_that_diverges_leaves_the_others_alone(
    spec: Callable[..., TrainerSpec], halves: tuple[Table, Table]
) -> None:
    wild, calm = 1000.0, 1e-3
    asked = spec(
        hyperparameters={"learning_rate": 1.0}, feature_scaling="standard", sweep={"weight_decay": [wild, calm]}
    )
    losses, training, state = trained(asked, *halves)
    assert [standing.status for standing in state.standings] == ["diverged", "done"]
    assert len(losses[0]) < len(losses[1]) == 20
    assert training.ranking.leader() == 1
    hopeless = asked.model_copy(update={"sweep": Sweep(weight_decay=[wild, 2 * wild / 3])})
    with pytest.raises(LossDiverged, match="learning_rate"):
        trained(hopeless, *halves)


def test_a_stack_steps_its_heads_as_torch_steps_each() -> None:
    generator = torch.Generator().manual_seed(0)
    trials = [
        Hyperparameters(learning_rate=0.1 / (i + 1), momentum=0.3 * i, weight_decay=0.01 * i, nesterov=i == 2)
        for i in range(3)
    ]
    first = head.fresh(0, 7)
    state = fresh(first, trials, head.Scaler.none())
    stack = state.buckets[0].stack
    layers = [Head(stack.weight[i], stack.bias[i, 0]).copy().layer() for i in range(3)]
    optimizers = [
        torch.optim.SGD(
            layer.parameters(),
            lr=hp.learning_rate,
            momentum=hp.momentum,
            nesterov=hp.nesterov,
            weight_decay=hp.weight_decay,
        )
        for layer, hp in zip(layers, trials, strict=True)
    ]
    for _ in range(5):
        x, labels = torch.randn(9, 512, generator=generator), torch.randint(7, (9,), generator=generator)
        losses = stack.step(x.numpy(), labels.numpy(), [hp.learning_rate for hp in trials])
        for i, (layer, optimizer) in enumerate(zip(layers, optimizers, strict=True)):
            optimizer.zero_grad()
            loss = F.cross_entropy(layer(x), labels)
            loss.backward()
            optimizer.step()
            assert losses[i] == pytest.approx(loss.item(), abs=1e-5)
            assert torch.allclose(torch.from_numpy(stack.weight[i]), layer.weight, atol=1e-5)
            assert torch.allclose(torch.from_numpy(stack.bias[i, 0]), layer.bias, atol=1e-5)


def test_the_best_checkpoint_of_a_sweep_only_ever_gets_better(
    spec: Callable[..., TrainerSpec], halves: tuple[Table, Table]
) -> None:
    """Whoever leads: one trial is quick and wild, the other slow."""
    sweep = {"learning_rate": [3.0, 0.003]}
    asked = spec(
        hyperparameters={"n_epochs": 40},
        feature_scaling="standard",
        sweep=sweep,
        checkpoints={"every_epochs": 100},
        timing=TrainerTiming(checkpoint_gap=0.0),
    )
    ledger = Ledger()
    training = Training(asked, *halves, ledger, lambda: False)
    training.run()
    ledger.close()
    lines = [LINE.validate_json(line) for line in ledger.out.getvalue().splitlines()]
    best = [line.metrics.val_loss for line in lines if isinstance(line, CheckpointLine) and line.best]
    assert len(best) > 2
    assert best == sorted(best, reverse=True)  # type: ignore[type-var]
    assert best[-1] == min(s.best.val_loss for s in training.state.standings if s.best)  # type: ignore[type-var]


def test_a_stop_while_held_out_images_still_arrive_loses_no_validation(
    spec: Callable[..., TrainerSpec], halves: tuple[Table, Table], tmp_path: Path
) -> None:
    train, val = halves

    def stopped(_: object) -> None:
        raise Stopped

    asked = spec(hyperparameters={"n_epochs": 1}, sweep={"learning_rate": [1e-6, 1e-3]})
    with pytest.raises(Stopped):
        Training(asked, train, Table(val.features, val.labels, val.readable, stopped), Ledger(), lambda: False).run()
    newest = max(tmp_path.glob("checkpoint-*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    resumed = Training(asked.model_copy(update={"resume": str(newest)}), train, val, Ledger(), lambda: False)
    state = resumed.run()
    assert all(standing.val_loss is not None for standing in state.standings)
    assert resumed.ranking.leader() == 1
    assert resumed.progress().percent <= 100
