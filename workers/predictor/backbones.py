"""Backbones by their weights: two of them, the least recently asked out first; always fp32."""

import gc
import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

import torch

from services.contract.errors import WeightsUnavailable
from services.contract.timing import Timing
from services.contract.weights import AnyWeights
from workers.vision.backbone import load, weights_sha256
from workers.vision.device import open_device
from workers.vision.engines import Extractor
from workers.vision.images import SIDE

MOST = 2


@dataclass(frozen=True)
class LoadedBackbone:
    """`extract`: pixels (B, 3, 224, 224) uint8 → features (B, 512) float32."""

    extract: Extractor
    sha256: str


class Backbones:
    """Raises DeviceUnavailable."""

    def __init__(self, device: str, timing: Timing) -> None:
        self._device, self._timing = open_device(device), timing
        self._kept: OrderedDict[str, LoadedBackbone] = OrderedDict()
        self._failed: dict[str, tuple[float, WeightsUnavailable]] = {}
        self._turn, self._loading = threading.Lock(), dict[str, threading.Lock]()

    def get(self, weights: AnyWeights) -> LoadedBackbone:
        """Loads them where they are not there yet, once. Raises WeightsUnavailable."""
        name = str(weights)
        with self._turn:
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:  # one that hangs on a download holds up no other
            found = self._kept.get(name) or self._loaded(name, weights)
        with self._turn:
            self._kept[name] = found
            self._kept.move_to_end(name)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return found

    def _loaded(self, name: str, weights: AnyWeights) -> LoadedBackbone:
        failed_at, why = self._failed.pop(name, (-math.inf, None))
        if why is not None and time.monotonic() - failed_at < self._timing.weights_again:
            self._failed[name] = failed_at, why
            raise WeightsUnavailable(str(why))
        try:
            network = load(weights, self._timing.trainer)
        except WeightsUnavailable as error:
            self._failed[name] = time.monotonic(), error
            raise
        found = LoadedBackbone(Extractor(network, self._device, "fp32"), weights_sha256(network))
        found.extract(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8))  # kernels are chosen in the first pass
        del network
        gc.collect()  # a module holds itself: its 45 MB would stay until someone looks
        return found
