"""The trainer, which waits at the gate between two steps. Importing this changes the real one."""

import time
from collections.abc import Iterator, Sequence

from services.contract import shards
from tests.gated.gate import HOLD_AT, Gate
from workers.trainer.state import Bucket
from workers.trainer.stop import Stopped
from workers.trainer.train import Training
from workers.vision.arrays import Integers
from workers.vision.pipeline import BATCH
from workers.vision.segments import Key
from workers.vision.shards import Pass

GATE = Gate.of_environment()
step = Training.step


def gated(self: Training, bucket: Bucket, batch: Integers) -> None:
    if self.state.at >= HOLD_AT and GATE.is_closed:
        self._flush()  # what is packed is told, as it would be in the next moment
        while GATE.is_closed and not self._stop_asked():
            time.sleep(0.005)
        if self._stop_asked():
            raise Stopped
    step(self, bucket, batch)


batches = Pass.batches


def gated_batches(self: Pass) -> Iterator[Sequence[Key]]:
    """The owner waits before its first shard; who helps does not."""
    while GATE.of_passes.is_closed:
        time.sleep(0.005)
    yield from batches(self)


Pass.batches = gated_batches  # type: ignore[method-assign]
Training.step = gated  # type: ignore[method-assign]
BATCH["cpu"] = 8  # few images, padded to less
shards.SHARD = 8  # so that few images are a pass worth sharing
