"""Models that no training made: a record and files as a worker leaves them, round a head that the test knows."""

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18

from services.contract.ids import model_id, new_id
from services.contract.lines import CheckpointLine
from services.contract.model import Result
from services.contract.progress import CheckpointMetrics
from services.contract.recipe import Hyperparameters
from services.contract.weights import RandomWeights
from services.settings import Settings
from services.store import places
from services.store.store import open_store
from tests.conftest import profile, result, spec
from tests.waiting import wait_until
from workers.trainer import checkpoint
from workers.trainer.export import export, whole
from workers.trainer.head import Scaler
from workers.trainer.head import fresh as first_head
from workers.trainer.state import fresh
from workers.trainer.trained import Trained
from workers.vision.backbone import load, weights_sha256
from workers.vision.heads import Head, read_head


@dataclass(frozen=True)
class MadeModel:
    """Round `head`."""

    id: str
    job: str
    labels: list[str]
    head: Head

    @cached_property
    def network(self) -> nn.Module:
        """The exported model, as torchvision loads it."""
        network: nn.Module = resnet18(num_classes=len(self.labels))
        network.load_state_dict(whole(trained_of(self.head, self.labels)))
        network.eval()
        return network


BACKBONE = load(RandomWeights(0))
RECEIPT = result().receipt.model_copy(update={"weights_sha256": weights_sha256(BACKBONE), "export": []})


def trained_of(head: Head, labels: list[str]) -> Trained:
    return Trained(BACKBONE, head.layer(), labels, RECEIPT, None)


def made_model(
    settings: Settings, labels: list[str], *, seed: int = 0, tenant: str = "local", **more: Any
) -> MadeModel:
    """Of a job that ran from its claim to its end, but for the training."""
    rng = np.random.default_rng(seed)
    head = Head(
        rng.normal(0, 0.3, (len(labels), 512)).astype(np.float32), rng.normal(0, 1, len(labels)).astype(np.float32)
    )
    return asyncio.run(_finished(settings, labels, head, more))


async def _finished(settings: Settings, labels: list[str], head: Head, more: dict[str, Any]) -> MadeModel:
    async with open_store(settings) as store:
        job = new_id("ftjob")
        await store.jobs.create(job, "local", spec(num_labels=len(labels)))
        claim = await store.leases.claim(job, profile())
        assert claim is not None
        place = places.model("local", job, claim.fence)
        out = settings.files_dir / place
        out.mkdir(parents=True)
        files = export(trained_of(head, labels), out)
        store.blobs.put(places.labels(place), json.dumps(labels).encode())
        exports = {format: places.export(place, name) for format, name in files.items()}
        left = Result(model=model_id(job, None), place=place, exports=exports, receipt=RECEIPT, **more)
        await store.leases.finish(claim, left, "done", {})
    return MadeModel(left.model, job, labels, head)


async def checkpointed(settings: Settings, file: str, labels: list[str]) -> tuple[str, Head]:
    """A job that runs, with a checkpoint at step 7, and the head that it holds."""
    rng = np.random.default_rng(3)
    head = first_head(3, len(labels))
    scaler = Scaler.of(torch.from_numpy(rng.normal(0.5, 1, (600, 512)).astype(np.float32)))
    state = fresh(head, [Hyperparameters()], scaler)
    content = checkpoint.packed(state)
    async with open_store(settings) as store:
        job = new_id("ftjob")
        await store.jobs.create(job, "local", spec(num_labels=len(labels), training_file=file))
        claim = await store.leases.claim(job, profile())
        assert claim is not None
        metrics = CheckpointMetrics(step=7, epoch=1)
        sha256 = hashlib.sha256(content).hexdigest()
        await store.checkpoints.put(
            claim, CheckpointLine(number=0, path="", sha256=sha256, metrics=metrics), content, 0
        )
    return job, read_head(content)


@contextmanager
def running_predictor(settings: Settings, socket_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real one, ready."""
    command = [sys.executable, "-m", "workers.predictor", "--socket", str(socket_path)]
    process = subprocess.Popen(command, env=settings.environment_of_predictor())
    try:
        wait_until(lambda: process.poll() is not None or _listens(socket_path), seconds=60)
        assert process.poll() is None
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False
