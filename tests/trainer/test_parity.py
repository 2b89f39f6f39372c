"""The trainer against the plain loop, where design and chaos allow to ask: per-step loss within 1e-4, in fp32."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from services.contract.spec import ArchivePaths, Hyperparameters, TrainerSpec
from tests.drawing import shapes, zipped
from tests.trainer.reference import reference_loop, standardised
from workers.trainer import backbone, head
from workers.trainer.evaluate import Table
from workers.trainer.images import pixels
from workers.trainer.report import Report
from workers.trainer.train import Training

STABLE: list[dict[str, Any]] = [
    {"hyperparameters": {"learning_rate": 1e-3}, "feature_scaling": "none"},
    {"hyperparameters": {}, "feature_scaling": "standard"},
    {"hyperparameters": {"weight_decay": 1e-2, "batch_size": 7, "n_epochs": 4}, "feature_scaling": "standard"},
]


class Ledger(Report):
    """A report that only keeps the losses."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.losses: list[float] = []

    def step(self, step: int, loss: float) -> bool:
        self.losses.append(loss)
        return super().step(step, loss)


def trained(spec: TrainerSpec, table: Table) -> tuple[list[float], nn.Linear, head.Scaling]:
    ledger = Ledger()
    state = Training(spec, table, None, ledger, lambda: False).run()
    return ledger.losses, state.head, state.scaling


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
    losses, trained_head, _ = trained(asked, digits)
    features = standardised(digits.features) if asked.feature_scaling == "standard" else digits.features
    wanted, wanted_head = reference_loop(features, digits.labels, 10, asked.hyperparameters, asked.seed)
    nudged = torch.nextafter(features, torch.full_like(features, math.inf))
    shifted, _ = reference_loop(nudged, digits.labels, 10, asked.hyperparameters, asked.seed)
    assert max(abs(a - b) for a, b in zip(wanted, shifted, strict=True)) < 1e-5, "the reference itself is chaotic here"
    assert max(abs(a - b) for a, b in zip(losses, wanted, strict=True)) < 1e-4
    assert torch.equal(trained_head(features).argmax(1), wanted_head(features).argmax(1))


def test_at_the_chaotic_defaults_each_step_is_the_references_from_the_same_head(
    spec: Callable[..., TrainerSpec], digits: Table
) -> None:
    asked = spec(hyperparameters={"n_epochs": 3})
    training = Training(asked, digits, None, Ledger(), lambda: False)
    state, hp = training._state, asked.hyperparameters
    for _, order in training._orders():
        for batch in order.split(hp.batch_size):
            twin = nn.Linear(512, 10)
            twin.load_state_dict(state.head.state_dict())
            optimizer = torch.optim.SGD(twin.parameters(), lr=hp.learning_rate, momentum=hp.momentum)
            for ours, theirs in zip(state.head.parameters(), twin.parameters(), strict=True):
                if momentum := state.optimizer.state[ours]:
                    optimizer.state[theirs]["momentum_buffer"] = momentum["momentum_buffer"].clone()
            loss = F.cross_entropy(twin(digits.features[batch]), digits.labels[batch])
            loss.backward()
            optimizer.step()
            training._batch(batch)
            assert state.place.train_loss == pytest.approx(loss.item(), abs=1e-4)
            assert torch.allclose(state.head.weight, twin.weight, atol=1e-5)


def test_the_whole_network_run_every_epoch_gives_the_same_losses_and_predictions(
    archive: Callable[[bytes], ArchivePaths],
    trainer_spec: Callable[..., TrainerSpec],
    run_trainer: Callable[[TrainerSpec], list[Any]],
) -> None:
    files = shapes(8)
    hp = Hyperparameters(learning_rate=1e-3, n_epochs=2, batch_size=8)
    spec = trainer_spec(archive(zipped(files)), split=0.0, hyperparameters=hp, seed=1)
    lines = run_trainer(spec)
    losses = [loss for line in lines if line.type == "metrics" for loss in line.train_loss]

    model, wanted, graded = naive_loop(files, hp, seed=1)
    assert max(abs(a - b) for a, b in zip(losses, wanted, strict=True)) < 1e-4
    assert graded == {"fc.weight", "fc.bias"}

    exported = resnet18(num_classes=2)
    exported.load_state_dict(torch.load(Path(spec.out) / "model.pt", weights_only=True))
    frozen = backbone.load("random:0").state_dict()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in exported.state_dict().items() if name in frozen)
    images = torch.stack([pixels(files[path]) for path in sorted(files)])
    with torch.inference_mode():
        assert torch.allclose(exported.eval()(images), model(images), atol=1e-3)
        assert torch.equal(exported(images).argmax(1), model(images).argmax(1))


def naive_loop(files: dict[str, bytes], hp: Hyperparameters, seed: int) -> tuple[nn.Module, list[float], set[str]]:
    """The tutorial's: every parameter frozen, a new `fc`, the whole network for every batch of every epoch."""
    images = torch.stack([pixels(files[path]) for path in sorted(files)])  # (n, 3, 224, 224)
    labels = torch.tensor([int(path.startswith("square")) for path in sorted(files)])
    torch.manual_seed(0)
    model = resnet18(weights=None).eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    torch.manual_seed(seed)
    model.fc = nn.Linear(512, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=hp.learning_rate, momentum=hp.momentum)
    order = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(hp.n_epochs):
        for batch in torch.randperm(len(labels), generator=order).split(hp.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses, {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_the_folded_head_gives_on_raw_features_what_the_trained_one_gives_on_scaled_ones(
    spec: Callable[..., TrainerSpec], digits: Table
) -> None:
    _, trained_head, scaling = trained(spec(feature_scaling="standard"), digits)
    folded = scaling.folded(trained_head)
    assert torch.allclose(folded(digits.features), trained_head(scaling(digits.features)), atol=1e-4)
