"""Each part of the way alone, the plain way and ours in turns: decode, forward, both together, the head's step."""

import io
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import ResNet18_Weights

from services.contract.recipe import Hyperparameters
from services.contract.spec import TrainerSpec
from services.contract.weights import RandomWeights
from tests.benchmarks.place import Place
from tests.drawing import zipped
from tests.extracting import extract
from tests.trainers import indexed
from workers.trainer import head
from workers.trainer.report import Report
from workers.trainer.state import fresh
from workers.trainer.table import Table
from workers.trainer.train import Training
from workers.vision import dataset
from workers.vision.backbone import Backbone, load
from workers.vision.engines import ENGINES, Extractor
from workers.vision.images import normalised, pixels
from workers.vision.pipeline import BATCH

Figures = dict[str, list[float]]
Ways = dict[str, Callable[[], object]]


def note(found: Figures, name: str, value: float) -> None:
    found.setdefault(name, []).append(value)


def photos(count: int, first: int = 0) -> dict[str, bytes]:
    """JPEGs of 640 × 480, smooth and noisy at once, of two labels."""
    found = {}
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        rough = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        array = np.asarray(rough.resize((640, 480), Image.Resampling.BICUBIC)) + rng.normal(0, 6, (480, 640, 3))
        content = io.BytesIO()
        Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(content, "jpeg", quality=88)
        found[f"{'ab'[seed % 2]}/{seed:05d}.jpg"] = content.getvalue()
    return found


def decoding(place: Place) -> Figures:
    """An image from JPEG to pixels, on one core."""
    contents, transforms = list(photos(48).values()), ResNet18_Weights.DEFAULT.transforms()
    torch.set_num_threads(1)

    def plain() -> None:
        for content in contents:
            transforms(Image.open(io.BytesIO(content)).convert("RGB"))

    def ours() -> None:
        for content in contents:
            pixels(content)

    found = _in_turns(place.runs, {"plain": plain, "ours": ours}, per=len(contents))
    torch.set_num_threads(os.cpu_count() or 1)
    return _named("decode", found, unit="img/s a core")


def forward(place: Place) -> Figures:
    """A batch through the backbone and back: eager in fp32; ours, and in the precision that "auto" takes."""
    device = torch.device(place.device)
    images = torch.randint(0, 256, (BATCH[device.type], 3, 224, 224), dtype=torch.uint8)
    floats, network = normalised(images), load(RandomWeights(0)).to(device)

    def plain() -> None:
        with torch.inference_mode():
            network(floats.to(device)).cpu()

    ways: Ways = {"plain": plain}
    for precision in ("fp32", *place.fast):
        ways[f"ours in {precision}"] = partial(Backbone(place.prepared(precision)).extract, images)
    return _named("forward", _in_turns(place.runs, ways, per=len(images)), unit="img/s")


def engines(place: Place) -> Figures:
    """A batch through the backbone on the CPU in fp32: folded and channels last by torch, and by OpenVINO."""
    images = torch.randint(0, 256, (BATCH["cpu"], 3, 224, 224), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    ways: Ways = {
        engine: partial(Extractor(load(RandomWeights(0)), torch.device("cpu"), "fp32", engine), images)
        for engine in ENGINES
    }
    found = _in_turns(place.runs, ways, per=len(images))
    figures: Figures = {f"forward in fp32 by {engine}, img/s": rates for engine, rates in found.items()}
    ratios = [ours / others for ours, others in zip(found["openvino"], found["torch"], strict=True)]
    return figures | {"forward in fp32, OpenVINO / torch": ratios}


def pipeline(place: Place) -> Figures:
    """Archive to features, against its parts: 1 / (1 / decode + 1 / forward), all of them on all cores."""
    body = Backbone(place.prepared())
    batch = BATCH[body.device.type]
    files = photos(4 * batch)
    slot = torch.zeros(batch, 3, 224, 224, dtype=torch.uint8).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as name:
        spec = TrainerSpec(
            job="",
            tenant="",
            training=indexed(zipped(files), Path(name)),
            labels=["a", "b"],
            num_labels=2,
            cache="",
            out="",
        )
        examples = dataset.load(spec.model_copy(update={"split": 0.0})).train
        with ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:

            def decode() -> None:
                list(pool.map(lambda example: pixels(example.read()), examples))

            def passes() -> None:
                for _ in range(len(examples) // batch):
                    body.extract(slot)

            def both() -> None:
                for _ in extract(examples, body):
                    pass

            found = _in_turns(place.runs, {"decode": decode, "forward": passes, "both": both}, per=len(examples))
    bound = [1 / (1 / d + 1 / f) for d, f in zip(found["decode"], found["forward"], strict=True)]
    return {
        "pipeline, img/s": found["both"],
        "pipeline / (decode and forward one after another)": [a / b for a, b in zip(found["both"], bound, strict=True)],
    }


def head_step(place: Place) -> Figures:
    """A step of the head at batch 64, 10 labels: DataLoader, autograd and SGD; and ours, for 1 and 16 heads."""
    n, labels, batch, epochs = 2048, 10, 64, 8
    table = _random_table(n, labels)
    hp = Hyperparameters(learning_rate=1e-3)

    def plain() -> None:
        layer = nn.Linear(512, labels)
        optimizer = torch.optim.SGD(layer.parameters(), lr=hp.learning_rate, momentum=hp.momentum)
        loader = DataLoader(TensorDataset(table.features, table.labels), batch, shuffle=True)
        for x, y in chain.from_iterable(loader for _ in range(epochs)):
            optimizer.zero_grad()
            loss = F.cross_entropy(layer(x), y)
            loss.backward()
            optimizer.step()
            loss.item()

    def ours(heads: int) -> Callable[[], None]:
        def train() -> None:
            state = fresh(head.fresh(0, labels), [hp] * heads, head.Scaler.none())
            x, y = table.features.numpy(), table.labels.numpy()
            for epoch in range(epochs):
                for rows in np.split(np.random.default_rng(epoch).permutation(n), n // batch):
                    state.buckets[0].stack.step(x.take(rows, axis=0), y[rows], [1e-3] * heads)

        return train

    ways: Ways = {
        "plain": plain,
        "ours": ours(1),
        "ours, 16 heads": ours(16),
        "torch, fused": lambda: _torch_epochs(table, labels, batch, epochs),
    }
    rates = _in_turns(place.runs, ways, per=epochs * n // batch)  # steps a second
    found = {f"head step, {name}, µs": [1e6 / rate for rate in values] for name, values in rates.items()}
    return found | {"head step, plain / ours": _ratio(rates["ours"], rates["plain"])}


def _torch_epochs(table: Table, labels: int, batch: int, epochs: int) -> None:
    """The same fused step in torch: what the choice of numpy is measured against."""
    weight, bias = torch.zeros(labels, 512), torch.zeros(labels)
    moments = torch.zeros_like(weight), torch.zeros_like(bias)
    with torch.inference_mode():
        for rows in chain.from_iterable(torch.randperm(len(table)).split(batch) for _ in range(epochs)):
            x, y = table.features[rows], table.labels[rows]
            log_probs = torch.log_softmax(x @ weight.T + bias, 1)
            float(-log_probs.gather(1, y[:, None]).mean())
            delta = log_probs.exp_()
            delta[torch.arange(len(y)), y] -= 1
            delta /= len(y)
            for parameter, moment, gradient in zip((weight, bias), moments, (delta.T @ x, delta.sum(0)), strict=True):
                parameter.sub_(moment.mul_(0.9).add_(gradient), alpha=1e-3)


def streaming(place: Place) -> Figures:
    """Training 25 epochs on 3,000 images' features, told as jobs tell it, and in silence."""
    ways: Ways = {"told": lambda: _train(Report(io.StringIO())), "silent": lambda: _train(Silence(io.StringIO()))}
    rates = _in_turns(place.runs, ways, per=1)
    return {"streaming, told / silent": _ratio(rates["silent"], rates["told"])}


class Silence(Report):
    def steps(self, *_: object) -> None:
        pass

    def validation(self, *_: object) -> None:
        pass

    def say(self, *_: object) -> None:
        pass


def _train(report: Report, *, labels: int = 10, trials: int = 1, epochs: int = 25) -> None:
    with tempfile.TemporaryDirectory() as out:
        sweep = {"learning_rate": [1e-3 * (i + 1) for i in range(trials)]} if trials > 1 else None
        spec = TrainerSpec.model_validate(
            {
                "job": "",
                "tenant": "",
                "training": {"data": "", "index": ""},
                "labels": [str(i) for i in range(labels)],
                "num_labels": labels,
                "hyperparameters": {"n_epochs": epochs, "learning_rate": 1e-3},
                "sweep": sweep,
                "cache": "",
                "out": out,
            }
        )
        report.features = 1.0
        Training(spec, _random_table(3000, labels), _random_table(600, labels), report, lambda: False).run()
        report.close()


def heads_grow(place: Place) -> Figures:
    """Ten epochs on 3,000 images' features: from 1 to 64 trials of 10 labels, from 2 to 1,000 labels."""
    found: Figures = {}
    for trials, labels in ((1, 10), (4, 10), (16, 10), (64, 10), (1, 2), (1, 100), (1, 1000)):
        train = partial(_train, trials=trials, labels=labels, epochs=10)
        seconds = [_seconds(partial(train, Report(io.StringIO()))) for _ in range(place.runs)]
        found[f"10 epochs of 3,000 features, {trials} trials of {labels} labels, s"] = seconds
    return found


def _random_table(n: int, labels: int) -> Table:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, 512, generator=generator)
    return Table(features, torch.randint(labels, (n,), generator=generator), torch.ones(n, dtype=torch.bool))


def _in_turns(runs: int, ways: Ways, *, per: int) -> Figures:
    """How many a second, of `per` in each call; once each to warm up, then in turns."""
    for way in ways.values():
        way()
    found: Figures = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            found[name].append(per / _seconds(way))
    return found


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def _named(part: str, found: Figures, *, unit: str) -> Figures:
    named = {f"{part}, {way}, {unit}": values for way, values in found.items()}
    ratios = {f"{part}, {way} / plain": _ratio(found[way], found["plain"]) for way in found if way != "plain"}
    return named | ratios


def _ratio(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]
