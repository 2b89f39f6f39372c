"""In which order the images are seen: derived from the seed, so that no checkpoint needs to hold it."""

from collections.abc import Iterator

import numpy as np
import torch

from services.contract.spec import TrainerSpec
from workers.trainer.state import Position
from workers.vision.arrays import Integers


def orders(spec: TrainerSpec, n: int, first: int = 0) -> Iterator[Integers]:
    """Each epoch's order of n images; from the epoch `first` on."""
    generator = torch.Generator().manual_seed(spec.seed)
    for epoch in range(spec.hyperparameters.n_epochs):
        order = torch.randperm(n, generator=generator).numpy()  # (n,)
        if epoch >= first:
            yield order


def due(spec: TrainerSpec, n: int, at: Position) -> tuple[list[int], list[int]]:
    """Of n training images, those that are still to come in the running epoch, and those only in the next."""
    order = next(orders(spec, n, at.epoch), np.arange(n)).tolist()
    return order[at.images :], order[: at.images]
