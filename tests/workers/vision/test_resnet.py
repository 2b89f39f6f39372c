"""Our ResNet18 is torchvision's: names, first weights, outputs and gradients, all to the bit."""

import torch
from torchvision.models import resnet18

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
