"""A model that was trained, and what is known of it: all that an export is made of."""

from dataclasses import dataclass

from torch import nn

from services.contract.evaluation import Evaluation
from services.contract.model import Receipt


@dataclass(frozen=True)
class Trained:
    """`network` as it was loaded, (B, 3, 224, 224) → (B, 512); `head` on its raw features, (B, 512) → (B, C);
    `labels`, C of them."""

    network: nn.Module
    head: nn.Linear
    labels: list[str]
    receipt: Receipt
    evaluation: Evaluation | None
    temperature: float = 1.0
