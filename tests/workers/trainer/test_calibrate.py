"""The temperature: found where it is known, never certain of everything, and fitted on what a predictor sees."""

import numpy as np
import pytest
import torch

from workers.trainer.calibrate import calibration_error, temperature


def drawn(n: int, true_temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `true_temperature` times too sure of labels drawn by their own probabilities."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (n, 5))
    probs = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in probs])
    return honest * true_temperature, labels


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_and_the_error_falls(true: float) -> None:
    logits, labels = drawn(4000, true)
    found = temperature(logits, labels)
    assert found == pytest.approx(true, rel=0.1)
    assert calibration_error(logits, labels, found) <= calibration_error(logits, labels, 1.0) + 1e-3
    assert calibration_error(logits, labels, found) < 0.03


def test_it_is_the_minimum_of_the_smoothed_likelihood() -> None:
    logits, labels = drawn(300, 2.0, seed=1)
    n, c = logits.shape
    believed = np.full((n, c), 1 / (n + 2) / c)
    believed[np.arange(n), labels] += 1 - 1 / (n + 2)

    def loss(by: float) -> float:
        return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits / by), torch.from_numpy(believed)))

    found = temperature(logits, labels)
    assert all(loss(found) <= loss(found * factor) for factor in (0.8, 0.95, 1.05, 1.2))


@pytest.mark.parametrize("n", [1, 3, 30])
def test_a_few_right_answers_make_nobody_certain(n: int) -> None:
    logits = np.tile(np.array([2.0, 0.0, -1.0]), (n, 1))
    found = temperature(logits, np.zeros(n, dtype=np.int64))
    sure = np.exp(2.0 / found) / np.exp(logits[0] / found).sum()
    assert sure < 1 - 0.3 / (n + 2)


def test_logits_that_are_not_finite_are_left_as_they_are() -> None:
    assert temperature(np.array([[np.inf, 0.0]]), np.array([0])) == 1.0
