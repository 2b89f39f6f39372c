"""Images that come within a few milliseconds go through a backbone together, whichever models they are for."""

import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from workers.predictor.backbones import LoadedBackbone
from workers.vision.arrays import Floats
from workers.vision.device import take_cores
from workers.vision.images import pixels_of, read
from workers.vision.pipeline import decoding_threads

BATCH = 32
LARGE = 25_000_000  # pixels of a picture that is decoded alone: some hundred megabytes


class Full(Exception):
    """As many images wait as may."""


@dataclass(frozen=True)
class Waiting:
    """A decoded image on its way to its features: pixels (3, 224, 224) uint8."""

    pixels: torch.Tensor
    backbone: LoadedBackbone
    features: "Future[Floats]" = field(default_factory=Future)


class Batches:
    """Threads decode, one thread runs the backbone. At most `most` images are in here at a time."""

    def __init__(self, most: int, window: float) -> None:
        self._most, self._window, self._inside, self._decoding = most, window, 0, 0
        self._turn, self._large = threading.Lock(), threading.Lock()
        self._decoders = ThreadPoolExecutor(
            decoding_threads(), thread_name_prefix="decode", initializer=take_cores, initargs=(1,)
        )
        self._ready: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        cores, started = torch.get_num_threads(), threading.Event()
        self._runner = threading.Thread(target=self._run, args=(cores, started), name="backbone", daemon=True)
        self._runner.start()
        started.wait()  # before a decoder takes its one core

    def submit(self, images: list[bytes], backbone: LoadedBackbone) -> list["Future[Floats]"]:
        """The features, (512,) float32 each. Raises Full; a future has Unreadable where an image cannot be read."""
        with self._turn:
            if self._inside + len(images) > self._most:
                raise Full
            self._inside += len(images)
            self._decoding += len(images)
        futures = []
        for image in images:
            future: Future[Floats] = Future()
            future.add_done_callback(self._is_out)
            self._decoders.submit(self._decode, image, backbone, future)
            futures.append(future)
        return futures

    def close(self) -> None:
        self._decoders.shutdown(cancel_futures=True)
        self._ready.put(None)
        self._runner.join()

    def _is_out(self, _: "Future[Floats]") -> None:
        with self._turn:
            self._inside -= 1

    def _decode(self, image: bytes, backbone: LoadedBackbone, future: "Future[Floats]") -> None:
        pixels = None
        try:
            if future.set_running_or_notify_cancel():
                with self._large if pixels_of(image) > LARGE else nullcontext():
                    pixels = read(image, "exact")[0]
        except BaseException as error:
            future.set_exception(error)
        with self._turn:  # before it is handed on: whoever takes it waits for those that are still being decoded
            self._decoding -= 1
        if pixels is not None:
            self._ready.put(Waiting(pixels, backbone, future))

    def _run(self, cores: int, started: threading.Event) -> None:
        take_cores(cores)
        started.set()
        held: Waiting | None = None
        while first := held or self._ready.get():
            batch, held = self._batch(first)
            try:
                rows = first.backbone.extract(torch.stack([waiting.pixels for waiting in batch]))  # (B, 512)
            except BaseException as error:
                for waiting in batch:
                    waiting.features.set_exception(error)
            else:
                for waiting, row in zip(batch, rows.numpy(), strict=True):
                    waiting.features.set_result(row)

    def _batch(self, first: Waiting) -> tuple[list[Waiting], Waiting | None]:
        """What goes together with `first`, and what came behind it for another backbone."""
        batch, until = [first], time.monotonic() + self._window
        while len(batch) < BATCH:
            wait = max(0.0, until - time.monotonic()) if self._decoding else 0.0
            try:
                more = self._ready.get(wait > 0, wait)
            except queue.Empty:
                break
            if more is None:
                self._ready.put(None)  # the end, once this batch is through
                break
            if more.backbone is not first.backbone:
                return batch, more
            batch.append(more)
        return batch, None
