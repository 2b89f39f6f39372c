"""Where weights come from: a name that crosses the API, or a file that only this machine knows."""

from pathlib import Path
from typing import Any

import pytest

from services.contract.weights import DefaultWeights, RandomWeights, WeightsFile, any_weights, named_weights
from services.settings import Settings


def test_names_are_read_and_written_alike() -> None:
    for name, weights in {"default": DefaultWeights(), "random:7": RandomWeights(7)}.items():
        assert named_weights(name) == any_weights(name) == weights
        assert str(weights) == name
    assert any_weights("/models/own.pth") == WeightsFile(Path("/models/own.pth"))


@pytest.mark.parametrize("value", ["random:", "random:x", "random:-1", "/etc/passwd", "Default", 1, None])
def test_a_job_names_nothing_else(value: Any) -> None:
    with pytest.raises(ValueError, match="random:N"):
        named_weights(value)


@pytest.mark.parametrize("value", ["random:", "random:x", "random"])
def test_a_setting_that_means_random_weights_needs_a_seed(value: str) -> None:
    with pytest.raises(ValueError, match="random:0"):
        any_weights(value)


@pytest.mark.parametrize(
    ("setting", "job", "source"),
    [
        ("default", DefaultWeights(), DefaultWeights()),
        ("default", RandomWeights(3), RandomWeights(3)),
        ("random:0", DefaultWeights(), DefaultWeights()),
        ("/models/own.pth", DefaultWeights(), WeightsFile(Path("/models/own.pth"))),
        ("/models/own.pth", RandomWeights(3), RandomWeights(3)),
    ],
)
def test_a_jobs_weights_come_from_where_this_machine_has_them(setting: str, job: Any, source: Any) -> None:
    assert Settings.model_validate({"weights": setting}).weights_source(job) == source
