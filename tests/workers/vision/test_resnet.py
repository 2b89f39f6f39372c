"""Our ResNet18 is torchvision's, to the bit: names, first weights, outputs and gradients; and it has its weights."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from services.contract.errors import WeightsUnavailable
from services.contract.weights import DefaultWeights
from workers.vision.backbone import PRETRAINED, load
from workers.vision.resnet import ResNet18


def pair(seed: int, num_classes: int = 1000) -> tuple[ResNet18, torch.nn.Module]:
    torch.manual_seed(seed)
    ours = ResNet18(num_classes)
    torch.manual_seed(seed)
    return ours, resnet18(weights=None, num_classes=num_classes)


def test_a_seed_gives_the_same_state_dict() -> None:
    ours, theirs = (model.state_dict() for model in pair(3))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_computes_and_learns_the_same() -> None:
    ours, theirs = pair(0, num_classes=7)
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    for model in (ours, theirs):  # in training, so that BatchNorm's statistics move too
        model(images).square().sum().backward()
    assert torch.equal(ours.eval()(images), theirs.eval()(images))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None
        assert torch.equal(mine.grad, other.grad)


def test_weights_that_are_not_what_their_name_says_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    kept = tmp_path / "checkpoints" / PRETRAINED
    kept.parent.mkdir()
    torch.save(ResNet18().state_dict(), kept)
    with pytest.raises(WeightsUnavailable, match="is not what its name says"):
        load(DefaultWeights())
