"""Which trial is better than which: judged on the held-out images."""

import math
from collections.abc import Callable, Sequence

from services.contract.progress import CheckpointMetrics
from services.contract.recipe import EarlyStopping
from workers.trainer.state import Standing


class Ranking:
    """Of `standings`, as they are at the moment of asking. `plan` says what counts; without one, the loss."""

    def __init__(self, standings: Sequence[Standing], plan: EarlyStopping | None) -> None:
        self._standings, self._plan = standings, plan

    def leader(self) -> int:
        """The trial whose head would be the model now: the best on validation, of its best epoch where that is kept."""
        return self._first(lambda standing: standing.best if self._plan else standing.metrics)

    def champion(self) -> int:
        """The trial that had the best epoch of all."""
        return self._first(lambda standing: standing.best)

    def has_improved(self, standing: Standing) -> bool:
        """Whether its last epoch was its best."""
        if standing.best is None:
            return True
        least = self._plan.min_delta if self._plan else 0.0
        return self._loss(standing.metrics) < self._loss(standing.best) - least

    def _first(self, metrics_of: Callable[[Standing], CheckpointMetrics | None]) -> int:
        def badness(trial: int) -> tuple[bool, float, int]:
            standing = self._standings[trial]
            return standing.status == "diverged", self._loss(metrics_of(standing)), trial

        return min(range(len(self._standings)), key=badness)

    def _loss(self, metrics: CheckpointMetrics | None) -> float:
        """What makes one better than another: less of it."""
        by_accuracy = self._plan is not None and self._plan.metric == "val_accuracy"
        value = None if metrics is None else metrics.val_accuracy if by_accuracy else metrics.val_loss
        if value is None:
            return math.inf
        return -value if by_accuracy else value
