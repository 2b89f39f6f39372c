"""Preflight passes on a device that computes, and fails on one that does not, saying why."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from services.contract.preflight import DeviceReport
from workers.vision import agreement, backbone, preflight, verdict
from workers.vision.device import candidates


@pytest.mark.slow
def test_the_cpu_passes_every_check() -> None:
    report = preflight.preflight("cpu")
    assert report.ok, report
    assert len(report.checks) == 4
    assert report.auto in report.precisions
    assert report.precisions["fp32"].agreement > 0.99999
    assert all(computed.agreement >= 0.995 for computed in report.precisions.values())


def test_a_missing_device_says_so_and_is_not_ok() -> None:
    report = preflight.preflight("cuda:7")
    assert not report.ok
    assert "cuda:7" in report.checks[0].detail


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def report() -> DeviceReport:
    """What the CPU computes in fp32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "DTYPES", {"fp32": torch.float32})
        patch.setattr(agreement, "_rates", lambda extractors: dict.fromkeys(extractors, 1.0))
        computed = agreement.arithmetic(torch.device("cpu"))
    return DeviceReport(device="cpu", model="cpu", ok=True, checks=[], precisions=computed, auto="fp32")


@pytest.mark.slow
def test_what_computes_as_it_did_holds_and_what_computes_otherwise_does_not(report: DeviceReport) -> None:
    assert preflight.still_holds(report)
    other = {"fp32": report.precisions["fp32"].model_copy(update={"fingerprint": "another"})}
    assert not preflight.still_holds(report.model_copy(update={"precisions": other}))


def start(folder: Path, report: DeviceReport, *, holds: bool = True) -> bool:
    """Whether it checked all."""
    made: list[str] = []

    def make() -> DeviceReport:
        made.append(report.device)
        return report

    assert verdict.kept_or_made("cpu", folder, lambda kept: holds and kept == report, make) == report
    return bool(made)


def test_the_next_start_sees_only_that_it_still_holds(tmp_path: Path, report: DeviceReport) -> None:
    assert start(tmp_path, report)
    assert not start(tmp_path, report)
    assert start(tmp_path, report, holds=False)


def test_workers_that_start_together_have_one_verdict(tmp_path: Path, report: DeviceReport) -> None:
    made: list[DeviceReport] = []

    def make() -> DeviceReport:
        time.sleep(0.2)
        made.append(report.model_copy(update={"model": f"the {len(made)}th"}))
        return made[-1]

    with ThreadPoolExecutor() as pool:
        found = [pool.submit(verdict.kept_or_made, "cpu", tmp_path, lambda kept: True, make) for _ in range(4)]
    assert [future.result() for future in found] == made * 4


@pytest.mark.parametrize("changed", ["processor", "driver", "cores", "_version", "describe"])
def test_on_another_machine_or_version_all_is_checked(
    changed: str, tmp_path: Path, report: DeviceReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path, report)
    monkeypatch.setattr(verdict, changed, lambda *of: "another")
    assert start(tmp_path, report)


def test_a_torn_verdict_is_none_and_one_that_is_not_good_is_not_kept(tmp_path: Path, report: DeviceReport) -> None:
    start(tmp_path, report)
    (kept,) = tmp_path.glob("*.json")
    kept.write_bytes(kept.read_bytes()[:100])
    failed = report.model_copy(update={"ok": False})
    assert start(tmp_path, failed)
    assert start(tmp_path, failed)


def test_a_verdict_that_cannot_be_kept_costs_the_next_start_its_time_and_nothing_else(
    tmp_path: Path, report: DeviceReport
) -> None:
    (tmp_path / "file").write_text("")
    assert start(tmp_path / "file" / "folder", report)


def test_a_device_that_does_not_open_is_told_of_with_a_folder_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preflight.main("cuda:7", str(tmp_path)) == 1
    assert "cuda:7" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
