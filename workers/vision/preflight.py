"""Preflight: does this device compute what it should? `python -m workers.vision.preflight DEVICE [FOLDER]`, JSON
on stdout. What it found is kept in FOLDER: the next start with it checks only that it still holds.

The checks are those of PyTorch's autograd tutorial, the frozen-backbone rule, and agreement with the CPU.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from services.contract.errors import DeviceUnavailable
from services.contract.preflight import DEVICE_REPORTS, Check, DeviceReport
from services.process import tether
from workers.vision import agreement, backbone
from workers.vision.agreement import WEIGHTS
from workers.vision.device import candidates, describe, native, open_device
from workers.vision.engines import Extractor
from workers.vision.resnet import ResNet18
from workers.vision.verdict import kept_or_made

LEARNING_RATE, MOMENTUM = 1e-2, 0.9


def autograd_identities(device: torch.device) -> str:
    """Q = 3a³ − b², and its gradients 9a² and −2b for gradient = [1, 1]."""
    return _identities(device, lambda q: q.backward(gradient=torch.tensor([1.0, 1.0], device=device)))


def _identities(device: torch.device, backward: Callable[[torch.Tensor], None]) -> str:
    a = torch.tensor([2.0, 3.0], device=device, requires_grad=True)
    b = torch.tensor([6.0, 4.0], device=device, requires_grad=True)
    q = 3 * a**3 - b**2
    _expect("Q", q, torch.tensor([-12.0, 65.0]))
    backward(q)
    _expect("a.grad", _grad(a), (9 * a**2).cpu())
    _expect("b.grad", _grad(b), (-2 * b).cpu())
    return "Q = [-12, 65], a.grad = 9a², b.grad = -2b"


def whole_network_step(device: torch.device) -> str:
    """One step of SGD on every parameter: the first one moves each by −lr · gradient."""
    torch.manual_seed(0)
    model = ResNet18().to(device)
    data, labels = torch.rand(1, 3, 64, 64).to(device), torch.rand(1, 1000).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = (model(data) - labels).sum()
    loss.backward()
    optimizer.step()
    for parameter, old in zip(model.parameters(), before, strict=True):
        _expect("a stepped parameter", parameter.detach(), (old - LEARNING_RATE * _grad(parameter)).cpu())
    if not torch.isfinite(loss):
        raise AssertionError("the loss is not finite")
    return f"loss {loss.item():.3f}, {len(before)} tensors moved by −lr · gradient"


def frozen_means_frozen(device: torch.device) -> str:
    """After freezing, only the new head has gradients, and only the new head moves."""
    model = backbone.load(WEIGHTS)
    model.fc = nn.Linear(backbone.DIM, 10)
    model.to(device)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    F.cross_entropy(model(torch.rand(2, 3, 64, 64).to(device)), torch.tensor([0, 1], device=device)).backward()
    optimizer.step()
    graded = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    if not graded == moved == {"fc.weight", "fc.bias"}:
        raise AssertionError(f"gradients on {sorted(graded)}, changes in {sorted(moved)}")
    return "only fc.weight and fc.bias have gradients, and only they moved"


def agrees_with_cpu(device: torch.device) -> str:
    """Features in fp32 on this device, as jobs get them, against the CPU's plain network in float64."""
    rows = Extractor(agreement.network(), device, "fp32")(agreement.photos("near"))
    cosine = agreement.centred_cosine(rows, agreement.reference())
    if not agreement.agrees(rows, "fp32", "near"):
        raise AssertionError(f"features differ by more than {agreement.MOST_APART:g} of the largest one")
    return f"centred cosine {cosine:.6f}"


CHECKS: list[Callable[[torch.device], str]] = [
    autograd_identities,
    whole_network_step,
    frozen_means_frozen,
    agrees_with_cpu,
]


def preflight(name: str) -> DeviceReport:
    """All checks, and what the device can compute."""
    try:
        device = open_device(name)
    except DeviceUnavailable as error:
        opened = Check(check="open", ok=False, detail=str(error))
        return DeviceReport(device=name, model="", ok=False, checks=[opened])
    checks = [_checked(check, device) for check in CHECKS]
    report = DeviceReport(device=name, model=describe(name), ok=all(check.ok for check in checks), checks=checks)
    if report.ok:
        report.precisions = agreement.arithmetic(device)
        report.auto = next((p for p in native(device) if p in report.precisions), "fp32")
    return report


def still_holds(report: DeviceReport) -> bool:
    """Whether the device computes as it did: the identities, and the fingerprints of what jobs are given unasked."""
    device = open_device(report.device)
    # The same gradients: of [1, 1] torch would import sympy first, which takes as long as all of this.
    _identities(device, lambda q: q.sum().backward())
    return all(
        agreement.fingerprint(device, precision, computed.engine) == computed.fingerprint
        for precision, computed in report.precisions.items()
        if precision in ("fp32", report.auto)
    )


def _checked(check: Callable[[torch.device], str], device: torch.device) -> Check:
    name = check.__name__.replace("_", " ")
    try:
        return Check(check=name, ok=True, detail=check(device))
    except Exception as error:  # a device that cannot compute this fails the check, whatever it raises
        return Check(check=name, ok=False, detail=str(error) or type(error).__name__)


def _expect(what: str, found: torch.Tensor, wanted: torch.Tensor) -> None:
    if not torch.allclose(found.cpu(), wanted, rtol=1e-4, atol=1e-5):
        raise AssertionError(f"{what} is {found.tolist()}, not {wanted.tolist()}"[:200])


def _grad(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.grad is None:
        raise AssertionError("a gradient is missing")
    return tensor.grad


def main(asked: str, folder: str | None = None) -> int:
    """Checks devices, best first, until one passes; the last report is that one's."""
    reports = []
    for name in candidates(asked):
        made = partial(preflight, name)
        reports.append(kept_or_made(name, Path(folder), still_holds, made) if folder else made())
        if reports[-1].ok:
            break
    print(DEVICE_REPORTS.dump_json(reports).decode())
    return 0 if reports[-1].ok else 1


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main(*[argument for argument in sys.argv[1:] if argument != "--tethered"]))
