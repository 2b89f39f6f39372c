"""The loop that the trainer is held to, as plain as the tutorial has it."""

import torch
import torch.nn.functional as F
from torch import nn

from services.contract.recipe import Hyperparameters


def reference_loop(
    features: torch.Tensor,
    labels: torch.Tensor,
    num_labels: int,
    hp: Hyperparameters,
    seed: int,
    weight: torch.Tensor | None = None,
) -> tuple[list[float], nn.Linear]:
    """Per-step losses and the final head, from features (n, 512)."""
    torch.manual_seed(seed)
    head = nn.Linear(512, num_labels)
    return plain_loop(head, features, labels, hp, seed, weight), head


def plain_loop(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    hp: Hyperparameters,
    seed: int,
    weight: torch.Tensor | None = None,
) -> list[float]:
    """Trains `model` as it stands; the loss of each step."""
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=hp.learning_rate,
        momentum=hp.momentum,
        nesterov=hp.nesterov,
        weight_decay=hp.weight_decay,
    )
    losses = []
    for _ in range(hp.n_epochs):
        for batch in torch.randperm(len(labels), generator=order).split(hp.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs[batch]), labels[batch], weight=weight)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def standardised(features: torch.Tensor) -> torch.Tensor:
    double = features.double()
    return ((double - double.mean(0)) / double.std(0, correction=0)).float()
