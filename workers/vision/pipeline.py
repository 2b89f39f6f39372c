"""Read → decode → backbone, all at once: threads decode into a ring of batches while the device works on one."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch

from services.pictures.bounds import Unreadable
from workers.vision import gpu_decoder
from workers.vision.backbone import Backbone
from workers.vision.dataset import Example
from workers.vision.decoding import decoding_for
from workers.vision.device import cores, take_cores
from workers.vision.images import SIDE, Decoding, PlainJpeg, plain_jpeg, read
from workers.vision.segments import Key, Said

BATCH = {"cpu": 32, "mps": 64, "cuda": 256}  # fixed and padded: an image's features do not depend on its company
MOST_THREADS = 8
FETCHERS = 16  # threads that wait for a store of objects
MOST_FETCHED = 32  # images that have come from one and are not decoded yet
AHEAD = 3  # batches in the ring: one on the device, one ready, one being filled


@dataclass(frozen=True)
class Extracted:
    """A batch after the backbone: `rows` is (B, 512) float32, `said` what is to say of some of its images."""

    keys: list[Key]
    rows: torch.Tensor
    said: dict[Key, Said]
    seconds: float  # that it took

    @property
    def unreadable(self) -> dict[Key, str]:
        return {key: said.unreadable for key, said in self.said.items() if said.unreadable is not None}


def extract_batches(
    batches: Iterable[Sequence[Example]],
    backbone: Backbone,
    is_wanted: Callable[[Sequence[Example]], bool] = lambda batch: True,
) -> Generator[Extracted]:
    """Each is of BATCH images at most, and asked for as there is room for it; one that is no longer wanted by then is
    left out. In memory are the ring and an image a thread. Raises what reading an archive raises."""
    began = time.monotonic()
    decoding = decoding_for(backbone.prepared.precision, backbone.device)
    for batch in _decoded(iter(batches), _Ring(backbone.device), decoding):
        batch.wait()
        if not is_wanted(batch.examples):
            continue
        pixels, said = batch.pixels(backbone.device)
        rows = backbone.extract(pixels)[: len(batch.examples)]  # (B, 512)
        keys = [example.key for example in batch.examples]
        extracted = Extracted(keys, rows, said, time.monotonic() - began)
        rows[[key in extracted.unreadable for key in keys]] = 0.0
        yield extracted
        began = time.monotonic()


class _Ring:
    """Room for AHEAD batches, each (B, 3, 224, 224) uint8, channels last; pinned where a GPU copies from it."""

    def __init__(self, device: torch.device) -> None:
        shape = BATCH[device.type], 3, SIDE, SIDE
        pinned = device.type == "cuda"
        slots = [
            torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last, pin_memory=pinned)
            for _ in range(AHEAD)
        ]
        self._slots = [slot.zero_() for slot in slots]
        self._next = 0

    def slot(self) -> torch.Tensor:
        self._next = (self._next + 1) % AHEAD
        return self._slots[self._next]


@dataclass(frozen=True)
class _Filling:
    """A batch that threads are filling."""

    examples: Sequence[Example]
    slot: torch.Tensor
    decoded: list[Future[Said | PlainJpeg | None]]

    def wait(self) -> None:
        """Raises what reading an archive raises."""
        for future in self.decoded:
            future.result()

    def pixels(self, device: torch.device) -> tuple[torch.Tensor, dict[Key, Said]]:
        """(B, 3, 224, 224) uint8, on the device where it decodes some; and what is to say of its images."""
        found = [future.result() for future in self.decoded]
        said = {e.key: each for e, each in zip(self.examples, found, strict=True) if isinstance(each, Said)}
        left = {row: each for row, each in enumerate(found) if isinstance(each, PlainJpeg)}
        if not left:
            return self.slot, said
        pixels, unreadable = gpu_decoder.filled(self.slot, left, device)
        return pixels, said | {self.examples[row].key: Said(unreadable=why) for row, why in unreadable.items()}


def _decoded(chunks: Iterator[Sequence[Example]], ring: _Ring, decoding: Decoding) -> Iterator[_Filling]:
    """Batches in order, soon ready. What was handed out may be filled anew once the next is asked for."""
    pool = ThreadPoolExecutor(decoding_threads(), thread_name_prefix="decode", initializer=take_cores, initargs=(1,))
    fetching = _Fetching()

    def start(chunk: Sequence[Example]) -> _Filling:
        slot = ring.slot()
        slot[len(chunk) :] = 0
        return _Filling(
            chunk,
            slot,
            [pool.submit(_decode_into, slot[i], fetching.of(e), decoding) for i, e in enumerate(chunk)],
        )

    try:
        waiting = deque(start(chunk) for chunk in islice(chunks, AHEAD))
        while waiting:
            yield waiting.popleft()
            waiting.extend(start(chunk) for chunk in islice(chunks, 1))
    finally:
        fetching.end()
        pool.shutdown(cancel_futures=True)


class _Fetching:
    """Images of a store of objects are asked for before a thread can decode them, many at a time: each takes as long
    as ten to decode. Local ones are read by who decodes them."""

    def __init__(self) -> None:
        self._admission = ThreadPoolExecutor(1, thread_name_prefix="admit")  # one: they are admitted in order
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch")
        self._room = threading.Semaphore(MOST_FETCHED)

    def of(self, example: Example) -> Callable[[], bytes]:
        """Gives the image's bytes; called in the order of asking."""
        if not example.archive.is_remote:
            return example.read
        coming = self._admission.submit(self._admit, example)

        def take() -> bytes:
            try:
                return coming.result().result()
            finally:
                self._room.release()

        return take

    def _admit(self, example: Example) -> Future[bytes]:
        self._room.acquire()
        return self._pool.submit(example.read)

    def end(self) -> None:
        self._admission.shutdown(wait=False, cancel_futures=True)
        self._room.release()  # for the one that waits
        self._pool.shutdown(wait=False, cancel_futures=True)


def _decode_into(place: torch.Tensor, content: Callable[[], bytes], decoding: Decoding) -> Said | PlainJpeg | None:
    """Fill (3, 224, 224); what is to say of it, such as why it cannot be. Plain JPEGs may be the device's."""
    whole = content()
    if decoding == "gpu" and (jpeg := plain_jpeg(whole)):
        return jpeg
    try:
        found, notes = read(whole, decoding)
    except Unreadable as error:
        place.zero_()
        return Said(unreadable=str(error))
    place.copy_(found)
    return Said(notes=notes) if notes else None


def decoding_threads() -> int:
    """As many as the cores that this process may use, within reason: each may hold an image of MAX_PIXELS."""
    return min(cores(), MOST_THREADS)
