"""Engines: each agrees with the plain network, nobody is told of it, and preflight takes the fastest that agrees."""

import importlib.util
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from services.contract.errors import WeightsUnavailable
from services.contract.preflight import EngineName
from services.contract.weights import RandomWeights
from tests.workers.vision.test_images import landscape, saved
from workers.vision import agreement, engines
from workers.vision.agreement import arithmetic, centred_cosine, network, photos, reference
from workers.vision.backbone import load
from workers.vision.engines import Engine, Extractor, candidates_on
from workers.vision.images import read

CPU = torch.device("cpu")


def flags() -> str:
    """What the processor says that it has; nothing where it says that elsewhere."""
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text()
    return ""


both_engines = pytest.mark.parametrize("engine", ["torch", "openvino"])


@both_engines
def test_features_in_fp32_are_the_plain_networks(engine: EngineName) -> None:
    found = Extractor(network(), CPU, "fp32", engine)(photos("near"))
    assert found.shape == (8, 512)
    assert found.dtype == torch.float32
    assert (found - reference()).abs().max() <= 1e-4 * reference().abs().max()


@both_engines
def test_an_images_features_do_not_depend_on_its_company(engine: EngineName) -> None:
    extract = Extractor(network(), CPU, "fp32", engine)
    whole = extract(photos("near"))
    alone = torch.cat([extract(photos("near")[i : i + 1]) for i in range(8)])
    assert (whole - alone).abs().max() <= (0 if engine == "openvino" else 1e-4)


@both_engines
def test_what_is_not_finite_is_refused(engine: EngineName) -> None:
    body = load(RandomWeights(0))
    next(body.parameters()).data.mul_(1e38)
    with pytest.raises(WeightsUnavailable, match="not finite in fp32 on cpu"):
        Extractor(body, CPU, "fp32", engine)(photos("near")[:1])


@pytest.mark.nightly
def test_the_same_label_in_every_arithmetic_for_nearly_every_photo() -> None:
    """Of twenty scenes, each seen in ten ways: heads on features in fp32 and exact pixels, asked of others."""
    contents = [saved(landscape(900 + 40 * (i % 5), 1100, seed=i // 5), "jpeg", quality=70 + i) for i in range(20)]
    labels = torch.tensor([i // 5 for i in range(20)])
    exact = torch.stack([read(content, "exact")[0] for content in contents])
    scaled = torch.stack([read(content, "scaled")[0] for content in contents])
    rows = Extractor(network(), CPU, "fp32")(exact)
    mean, std = rows.mean(0), rows.std(0) + 1e-6
    head = nn.Linear(512, 4)
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-2, momentum=0.9)
    for _ in range(50):
        optimizer.zero_grad()
        F.cross_entropy(head((rows - mean) / std), labels).backward()
        optimizer.step()
    expected = head((rows - mean) / std).argmax(1)
    for precision, computed in arithmetic(CPU).items():
        found = Extractor(network(), CPU, precision, computed.engine)(exact if precision == "fp32" else scaled)
        same = head((found - mean) / std).argmax(1) == expected
        assert same.float().mean() >= 0.995, precision


@pytest.mark.skipif("avx512_fp16" in flags() or "amx_fp16" in flags(), reason="this processor has fp16")
def test_a_precision_that_the_processor_lacks_is_not_available_with_openvino() -> None:
    extract = Extractor(network(), CPU, "fp16", "openvino")
    with pytest.raises(NotImplementedError, match="would compute in"):
        extract(photos("near")[:1])


def test_plain_cosines_prove_nothing_and_centred_ones_do() -> None:
    nonsense = reference().mean(0).expand(8, -1) + 0.04 * torch.randn(
        8, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    assert F.cosine_similarity(nonsense, reference()).min() > 0.99
    assert centred_cosine(nonsense, reference()) < 0.5


class Wrong:
    """An engine that computes something else."""

    def __init__(self, model: nn.Module, device: torch.device, precision: str) -> None:
        self._right = engines.TorchEngine(model, device, "fp32")

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._right(pixels) * 1.001


@pytest.mark.slow
def test_an_engine_that_does_not_agree_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.ENGINES, "openvino", Wrong)
    monkeypatch.setattr(agreement, "DTYPES", {"fp32": torch.float32})
    assert arithmetic(CPU)["fp32"].engine == "torch"


@pytest.mark.parametrize(("pace", "chosen"), [(1.05, "openvino"), (1.2, "torch")])
def test_one_that_is_preferred_gives_way_only_to_what_is_clearly_faster(
    pace: float, chosen: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "DTYPES", {"fp32": torch.float32})
    monkeypatch.setattr(agreement, "_rates", lambda extractors: {"openvino": 100.0, "torch": 100.0 * pace})
    assert arithmetic(CPU)["fp32"].engine == chosen


def test_an_engine_that_raises_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: nn.Module, device: torch.device, precision: str) -> Engine:
        raise OSError("a library is missing")

    monkeypatch.setitem(engines.ENGINES, "openvino", broken)
    monkeypatch.setattr(agreement, "DTYPES", {"fp32": torch.float32})
    assert arithmetic(CPU)["fp32"].engine == "torch"


def test_where_openvino_is_not_installed_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert candidates_on(CPU) == ["openvino", "torch"]
    assert candidates_on(torch.device("cuda")) == ["torch"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert candidates_on(CPU) == ["torch"]


def changed_by_one_level(content: bytes, decoding: str) -> tuple[torch.Tensor, list[str]]:
    pixels, notes = read(content, decoding)  # type: ignore[arg-type]
    return pixels ^ 1, notes


@pytest.mark.slow
@pytest.mark.parametrize("change", ["decoder", "engine"])
def test_the_fingerprint_tells_another_decoder_and_another_engine(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = agreement.fingerprint(CPU, "fp32", "openvino")
    assert agreement.fingerprint(CPU, "fp32", "openvino") == known
    photos.cache_clear()
    try:
        if change == "decoder":
            monkeypatch.setattr(agreement, "read", changed_by_one_level)
        assert agreement.fingerprint(CPU, "fp32", "torch" if change == "engine" else "openvino") != known
    finally:
        photos.cache_clear()


LISTENER = """
import json, socket, sys
asked = []
def refused(*args, **kwargs):
    asked.append(str(args))
    raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
import torch
from workers.vision.agreement import network, photos
from workers.vision.engines import Extractor
Extractor(network(), torch.device("cpu"), "fp32", "openvino")(photos("near"))
print(json.dumps([asked, [name for name in sys.modules if name.startswith("openvino_telemetry.")]]))
"""


@pytest.mark.slow
def test_openvino_tells_nobody_of_it() -> None:
    done = subprocess.run([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == [[], []]
