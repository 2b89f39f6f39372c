"""What is behind a predictor's answers: batches over models and backbones, bounded heads, two backbones."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from services.contract.errors import WeightsUnavailable
from services.contract.prediction import HeadSource
from services.contract.recipe import Hyperparameters
from services.contract.timing import Timing
from services.contract.weights import RandomWeights, WeightsFile
from services.pictures.bounds import Unreadable
from tests.drawing import png, shape
from workers.predictor import backbones, heads
from workers.predictor.app import log_probabilities
from workers.predictor.backbones import Backbones, LoadedBackbone
from workers.predictor.batches import BATCH, Batches, Full
from workers.predictor.heads import Heads
from workers.trainer import checkpoint
from workers.trainer.head import Scaler
from workers.trainer.head import fresh as first_head
from workers.trainer.state import fresh
from workers.vision.backbone import load as load_backbone
from workers.vision.heads import Head, HeadUnreadable, read_head


class Recorder:
    """A backbone whose features are the mean of the pixels; it notes its batches, and waits while it is held."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.free.wait(10)
        self.batches.append(len(pixels))
        return pixels.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 512)


def recorded() -> tuple[Recorder, LoadedBackbone]:
    recorder = Recorder()
    return recorder, LoadedBackbone(recorder, "sha")  # type: ignore[arg-type]


@pytest.fixture
def queue() -> Iterator[Batches]:
    made = Batches(most=64, window=0.005)
    yield made
    made.close()


PICTURES = [png(shape("circle", seed)) for seed in range(40)]


def rows(futures: "list[Future[np.ndarray]]") -> list[float]:
    return [float(future.result(20)[0]) for future in futures]


def test_what_waits_goes_together_and_each_gets_its_own_row(queue: Batches) -> None:
    recorder, backbone = recorded()
    alone = [rows(queue.submit([picture], backbone))[0] for picture in PICTURES[:3]]
    assert recorder.batches == [1, 1, 1]
    recorder.free.clear()
    waiting = queue.submit(PICTURES, backbone)
    recorder.free.set()
    assert rows(waiting)[:3] == pytest.approx(alone)
    assert sum(recorder.batches[3:]) == len(PICTURES)
    assert max(recorder.batches) > 4
    assert max(recorder.batches) <= BATCH


def test_the_backbone_has_all_cores_whatever_the_decoders_took(queue: Batches) -> None:
    seen: list[int] = []

    def note(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return torch.zeros(len(pixels), 512)

    for picture in PICTURES[:4]:
        rows(queue.submit([picture], LoadedBackbone(note, "sha")))  # type: ignore[arg-type]
    assert set(seen) == {torch.get_num_threads()}


def test_images_for_two_backbones_never_share_a_batch(queue: Batches) -> None:
    (one, first), (other, second) = recorded(), recorded()
    one.free.clear()
    waiting = [queue.submit([picture], (first, second)[i % 2]) for i, picture in enumerate(PICTURES)]
    one.free.set()
    assert all(len(rows(futures)) == 1 for futures in waiting)
    assert (sum(one.batches), sum(other.batches)) == (20, 20)


def test_more_than_may_wait_is_refused_and_there_is_room_again_afterwards(queue: Batches) -> None:
    recorder, backbone = recorded()
    recorder.free.clear()
    waiting = queue.submit(PICTURES, backbone)
    with pytest.raises(Full):
        queue.submit(PICTURES, backbone)
    recorder.free.set()
    rows(waiting)
    assert rows(queue.submit(PICTURES, backbone))


def test_a_picture_that_cannot_be_read_and_a_backbone_that_fails_hold_up_nobody(queue: Batches) -> None:
    _, backbone = recorded()
    bad, good = queue.submit([b"no picture", PICTURES[0]], backbone)
    with pytest.raises(Unreadable):
        bad.result(20)
    assert good.result(20).shape == (512,)

    def fail(pixels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        queue.submit([PICTURES[0]], LoadedBackbone(fail, "sha"))[0].result(20)  # type: ignore[arg-type]
    assert rows(queue.submit([PICTURES[0]], backbone))


# --- heads ---------------------------------------------------------------------------------------------------------


def head_of(seed: int, labels: int = 10) -> Head:
    rng = np.random.default_rng(seed)
    return Head(rng.normal(size=(labels, 512)).astype(np.float32), rng.normal(size=labels).astype(np.float32))


def content_of(head: Head) -> bytes:
    return save({"fc.weight": head.weight, "fc.bias": head.bias})


def source(key: str, place: str | None = None) -> HeadSource:
    return HeadSource(key=key, place=place, weights=RandomWeights(0))


def test_heads_are_read_once_and_the_least_recently_asked_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "BYTES", 3 * 10 * 513 * 4)
    kept = Heads(str(tmp_path))
    for seed in range(3):
        (tmp_path / f"{seed}").write_bytes(content_of(head_of(seed)))
        kept.get(source(f"{seed}", f"{seed}"), None)
    for path in tmp_path.iterdir():
        path.unlink()
    first = kept.get(source("0", "0"), None)
    assert first is not None
    assert np.array_equal(first.weight, head_of(0).weight)
    kept.get(source("3"), content_of(head_of(3)))
    assert kept.get(source("new"), None) is None  # it must be sent along
    with pytest.raises(HeadUnreadable, match="no longer in the file store"):
        kept.get(source("1", "1"), None)
    kept.get(source("0", "0"), None)


@pytest.mark.parametrize("content", [b"", b"x" * 100, content_of(head_of(0))[:-4], save({"w": np.zeros(3)})])
def test_what_is_no_head_is_refused(content: bytes) -> None:
    with pytest.raises(HeadUnreadable):
        read_head(content)


@pytest.mark.parametrize("trials", [1, 3])
def test_a_checkpoints_head_is_its_leaders_on_raw_features(trials: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 512, generator=generator) * 3 + 1
    scaler = Scaler.of(features)
    state = fresh(first_head(0, 7), [Hyperparameters(learning_rate=0.1 * (i + 1)) for i in range(trials)], scaler)
    labels = torch.randint(7, (50,), generator=generator)
    for _ in range(3):
        state.buckets[0].stack.step(scaler(features).numpy(), labels.numpy(), [0.1 * (i + 1) for i in range(trials)])
    leader = trials - 1
    found = read_head(checkpoint.packed(state, leader))
    wanted = state.head(leader).layer()(scaler(features)).detach().numpy()
    assert np.abs(features.numpy() @ found.weight.T + found.bias - wanted).max() < 1e-4


def test_log_probabilities_are_torchs() -> None:
    head, features = head_of(1), np.random.default_rng(2).normal(size=512).astype(np.float32)
    wanted = torch.log_softmax(head.layer()(torch.from_numpy(features)) / 1.7, 0).detach().numpy()
    assert log_probabilities(head, features, 1.7) == pytest.approx(wanted, abs=1e-4)


# --- backbones -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_backbones_are_kept_and_one_that_cannot_be_had_is_not_asked_for_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(weights: object, timing: object) -> object:
        loaded.append(str(weights))
        if isinstance(weights, WeightsFile):
            raise WeightsUnavailable("no such file")
        return real(weights)  # type: ignore[arg-type]

    real = load_backbone
    monkeypatch.setattr(backbones, "load", load)
    kept = Backbones("cpu", Timing())
    one = kept.get(RandomWeights(0))
    assert kept.get(RandomWeights(0)) is one
    kept.get(RandomWeights(1))
    assert kept.get(RandomWeights(0)) is one
    kept.get(RandomWeights(2))
    assert kept.get(RandomWeights(0)) is one
    kept.get(RandomWeights(1))
    assert loaded == ["random:0", "random:1", "random:2", "random:1"]
    for _ in range(2):
        with pytest.raises(WeightsUnavailable):
            kept.get(WeightsFile(tmp_path / "x"))
    assert loaded[4:] == [str(tmp_path / "x")]
