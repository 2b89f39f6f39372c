"""The features of a job's images, row by row: from the cache at once, the others as they are computed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from services.contract.spec import TrainerSpec
from workers.vision.arrays import Integers
from workers.vision.backbone import Backbone
from workers.vision.beside import Beside
from workers.vision.dataset import Example
from workers.vision.pipeline import BATCH, Extracted, extract_batches
from workers.vision.segments import FeatureCache, Key, Said, cache_folder, trim
from workers.vision.shards import Helpers, Pass


class Rows:
    """Row i is that of `examples[i]`; `order` is that in which they will be needed.

    `features` is (n, 512) float32, `readable` (n,) bool: both fill as `compute_next` is called. `cache_failed` is told
    each time that the cache cannot be written: that costs later jobs a pass, and this one nothing, as its rows are in
    memory.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        order: Sequence[int],
        backbone: Backbone,
        spec: TrainerSpec,
        cache_failed: Callable[[OSError], None],
        helpers: Helpers | None = None,
    ) -> None:
        self._spec, self._cache_failed = spec, cache_failed
        self._shelf = Path(spec.cache) / spec.tenant
        keys = [example.key for example in examples]
        self._places = _places(keys)
        folder = cache_folder(Path(spec.cache), spec.tenant, backbone.sha256, backbone.prepared)
        self._cache = FeatureCache(folder, self._places, spec.timing)
        self._beside = Beside(examples, folder.name)
        self._with_cache(lambda: self._beside.fill(self._cache))
        self.known = [key for key, places in self._places.items() if self._cache.there[places[0]]]
        self.seconds_saved = float(sum(self._cache.seconds[self._places[key][0]] for key in self.known))
        missing = dict.fromkeys(keys[i] for i in order if not self._cache.there[i])
        self.missing, self.computed = len(missing), 0
        self._pass = Pass(list(missing), BATCH[backbone.device.type], self._cache.has, helpers)
        self._batches = extract_batches(
            ([examples[self._places[key][0]] for key in batch] for batch in self._pass.batches()),
            backbone,
            lambda batch: not all(self._cache.has(example.key) for example in batch),
        )
        self._brought = self._pass.brought()
        self._began = time.monotonic()
        if missing:
            self._with_cache(self._trim)

    @property
    def features(self) -> torch.Tensor:
        return self._cache.rows

    @property
    def readable(self) -> torch.Tensor:
        return self._cache.readable

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def is_complete(self) -> bool:
        return self.computed == self.missing

    def are_there(self, indices: Integers) -> bool:
        return self.is_complete or bool(self._cache.there[indices].all())

    def known_unreadable(self) -> dict[Key, str]:
        """Those of which the cache knows that they cannot be decoded, and why."""
        said = self.said
        keys = [key for key in self.known if not self._cache.readable[self._places[key][0]]]
        return {key: (said[key].unreadable if key in said else None) or "known from an earlier job" for key in keys}

    @property
    def said(self) -> dict[Key, Said]:
        """Of images that are there."""
        return self._cache.said

    def copies(self, keys: Sequence[Key]) -> int:
        """How many rows these images take: equal ones share theirs."""
        return sum(len(self._places[key]) for key in keys)

    def compute_next(self) -> Extracted:
        """What a helper has brought; else the next batch, in the order of need."""
        batch = next(self._brought, None)
        if batch is None:
            self._brought = self._pass.brought()  # one that is exhausted looks no more
            batch = next(self._batches)
        if new := sum(not self._cache.has(key) for key in batch.keys):
            self.computed += new
            self._cache.add(batch.keys, batch.rows, batch.said, batch.seconds)
        if self._cache.is_due:
            self._with_cache(self._cache.flush)
        return batch

    def close(self, *, here_only: bool = False) -> None:
        """What was computed is kept; `here_only`: on this machine, and not beside the file for others."""
        self._batches.close()
        self._with_cache(self._cache.flush)
        self._with_cache(self._trim)
        if self.is_complete and not here_only:
            self._with_cache(lambda: self._beside.keep(self._cache, anew=self.computed > 0))

    def _trim(self) -> None:
        trim(self._shelf, self._spec.cache_bytes, self._spec.timing)

    def _with_cache(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._cache_failed(error)


def _places(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Where each image stands: equal ones share a row and keep their own labels."""
    places: dict[Key, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places
