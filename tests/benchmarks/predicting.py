"""From a picture to a label over HTTP, against the bare forward and the trainer's own pipeline."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import httpx
import psutil

from services.contract.spec import TrainerSpec
from services.settings import Settings
from tests.benchmarks.parts import Figures, note, photos
from tests.benchmarks.place import Place
from tests.conftest import free_port, running_api, running_valkey
from tests.drawing import zipped
from tests.extracting import extract
from tests.models import MadeModel, made_model, running_predictor
from tests.trainers import indexed
from workers.vision import dataset
from workers.vision.backbone import Backbone
from workers.vision.images import read

CLIENTS = 32
ASKED = 256  # images of a measurement
MODELS = 1000
LABELS = [str(label) for label in range(10)]


def predicting(place: Place) -> Figures:
    """One image and many, one model and a thousand, through API and predictor; against what the parts take alone."""
    found: Figures = {}
    body, files = Backbone(place.prepared()), list(photos(64).values())
    with _service(place) as (settings, client):
        one = made_model(settings, LABELS)
        many = [made_model(settings, LABELS, seed=seed) for seed in range(MODELS)]
        _asked(client, many, files, len(many))  # each head is read once
        for _ in range(place.runs):
            bare = statistics.median(_seconds(_bare, body, content) for content in files[:30])
            asked = statistics.median(_seconds(_ask, client, one, content) for content in files[:30])
            own, of_one = _pipeline(body, files), _asked(client, [one], files, ASKED)
            of_many = _asked(client, many, files, ASKED)
            note(found, "one image, one client: p50, ms", 1000 * asked)
            note(found, "one image, one client / (decode and bare forward)", asked / bare)
            note(found, "32 clients, img/s", of_one)
            note(found, "32 clients / the pipeline's own img/s", of_one / own)
            note(found, "1,000 models in turn / one model", of_many / of_one)
    return found


def predictor_cost(place: Place) -> Figures:
    """A predictor: from its start until it listens; its memory once it has answered, against torch and a backbone."""
    found: Figures = {}
    content = next(iter(photos(1).values()))
    for _ in range(place.runs):
        note(found, "predictor, start to listening, s", _start(place))
        with _service(place) as (settings, client):
            _ask(client, made_model(settings, LABELS), content)
            note(found, "predictor memory / torch and a backbone", _memory(client) / _memory_of_torch(place))
    return found


def _start(place: Place) -> float:
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        settings = Settings(data_dir=Path(name), weights="random:0", predictor_device=place.device)
        began = time.monotonic()
        with running_predictor(settings, Path(name) / "predictor.sock"):
            return time.monotonic() - began


@contextmanager
def _service(place: Place) -> Iterator[tuple[Settings, httpx.Client]]:
    with tempfile.TemporaryDirectory(prefix="headway-") as name:
        folder = Path(name)
        socket = folder / "predictor.sock"
        with running_valkey(folder / "valkey.sock", folder) as url:
            settings = Settings(
                data_dir=folder,
                redis_url=url,
                weights="random:0",
                port=free_port(),
                predictor_url=f"unix://{socket}",
                predictor_device=place.device,
            )
            with running_predictor(settings, socket), running_api(settings) as client:
                yield settings, client


def _ask(client: httpx.Client, model: MadeModel, content: bytes) -> None:
    answer = client.post("/v1/predictions", data={"model": model.id}, files={"image": content}, timeout=60)
    assert answer.status_code == 200, answer.text


def _bare(body: Backbone, content: bytes) -> None:
    body.extract(read(content, "exact")[0][None])


def _asked(client: httpx.Client, models: Sequence[MadeModel], files: Sequence[bytes], count: int) -> float:
    """Images a second, by many clients at once."""
    orders = list(zip(range(count), cycle(models), cycle(files), strict=False))
    with ThreadPoolExecutor(CLIENTS) as clients:
        began = time.monotonic()
        list(clients.map(lambda order: _ask(client, order[1], order[2]), orders))
        return count / (time.monotonic() - began)


def _pipeline(body: Backbone, files: Sequence[bytes]) -> float:
    """Images a second from an archive to features, as a trainer has them."""
    named = {f"{'ab'[at % 2]}/{at}.jpg": content for at, content in enumerate(files)}
    with tempfile.TemporaryDirectory() as name:
        paths = indexed(zipped(named), Path(name))
        spec = TrainerSpec(job="", tenant="", training=paths, labels=["a", "b"], num_labels=2, cache="", out="")
        examples = dataset.load(spec.model_copy(update={"split": 0.0})).train * (ASKED // len(files))
        began = time.monotonic()
        for _ in extract(examples, body):
            pass
        return len(examples) / (time.monotonic() - began)


def _seconds(act: Callable[..., None], *arguments: object) -> float:
    began = time.monotonic()
    act(*arguments)
    return time.monotonic() - began


def _memory(client: httpx.Client) -> float:
    children = psutil.Process().children()
    return float(next(c.memory_info().rss for c in children if "workers.predictor" in " ".join(c.cmdline())))


def _memory_of_torch(place: Place) -> float:
    """Of a process that has passed one image through a plain resnet18."""
    code = (
        "import psutil, torch; from torchvision.models import resnet18; torch.manual_seed(0)\n"
        f"network = resnet18().eval().to({place.device!r})\n"
        f"with torch.inference_mode(): network(torch.zeros(1, 3, 224, 224, device={place.device!r}))\n"
        "print(psutil.Process().memory_info().rss)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
