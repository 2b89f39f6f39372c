"""The head: `fc`, the one layer that is trained, and what stands before it when features are scaled."""

from dataclasses import dataclass

import torch
from torch import nn

from services.contract.spec import Hyperparameters
from workers.trainer.backbone import DIM

STD_FLOOR = 1e-3  # of the largest std: a feature that hardly moves in training must not be blown up in use


def fresh(seed: int, num_labels: int) -> nn.Linear:
    """The head of the reference loop, to the letter: the seed is set, and the layer is made."""
    torch.manual_seed(seed)
    return nn.Linear(DIM, num_labels)


def optimizer(head: nn.Linear, hyperparameters: Hyperparameters) -> torch.optim.SGD:
    return torch.optim.SGD(
        head.parameters(),
        lr=hyperparameters.learning_rate,
        momentum=hyperparameters.momentum,
        weight_decay=hyperparameters.weight_decay,
    )


@dataclass(frozen=True)
class Scaling:
    """(features − mean) / std; both (512,) float64."""

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def none(cls) -> "Scaling":
        return cls(torch.zeros(DIM, dtype=torch.float64), torch.ones(DIM, dtype=torch.float64))

    @classmethod
    def of(cls, features: torch.Tensor) -> "Scaling":
        """From the training set's features, (n, 512)."""
        std, mean = torch.std_mean(features.double(), dim=0, correction=0)  # (512,), (512,)
        return cls(mean, std.clamp(min=STD_FLOOR * float(std.max()) or 1.0))

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """(n, 512) → (n, 512), float32."""
        return ((features.double() - self.mean) / self.std).float()

    def folded(self, head: nn.Linear) -> nn.Linear:
        """The layer that gives on raw features what `head` gives on scaled ones."""
        weight = head.weight.detach().double() / self.std  # (C, 512)
        bias = head.bias.detach().double() - weight @ self.mean  # (C,)
        folded = nn.Linear(DIM, head.out_features)
        folded.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        return folded
