"""Preflight passes on a device that computes, and fails on one that does not, saying why."""

import pytest
import torch

from workers.vision import backbone, preflight
from workers.vision.device import candidates


@pytest.mark.slow
def test_the_cpu_passes_every_check() -> None:
    report = preflight.preflight("cpu")
    assert report.ok, report
    assert len(report.checks) == 4
    assert report.auto in report.precisions
    assert report.precisions["fp32"] > 0.99999


def test_a_missing_device_says_so_and_is_not_ok() -> None:
    report = preflight.preflight("cuda:7")
    assert not report.ok
    assert "cuda:7" in report.checks[0].detail


def test_a_device_that_computes_wrongly_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.Tensor.__pow__
    monkeypatch.setattr(torch.Tensor, "__pow__", lambda self, power: real(self, power) * 1.01)
    report = preflight.preflight("cpu")
    assert [check.check for check in report.checks if not check.ok] == ["autograd identities"]
    assert not report.ok


def test_a_backbone_that_is_not_frozen_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = backbone.load
    monkeypatch.setattr(backbone, "load", lambda source: real(source).requires_grad_(True))
    with pytest.raises(AssertionError, match=r"conv1\.weight"):
        preflight.frozen_means_frozen(torch.device("cpu"))


def test_the_device_that_was_asked_for_is_the_only_candidate() -> None:
    assert candidates("mps") == ["mps"]
    assert candidates("cuda") == ["cuda:0"]
    assert candidates("auto")[-1] == "cpu"
