"""The features of a job's images: from the cache, or computed as they are needed, told as they come."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from services.contract.errors import DataUnreadable
from services.contract.events import FeaturesLine, PhaseLine, WarningLine
from services.contract.spec import TrainerSpec
from workers.trainer import cache
from workers.trainer.backbone import Backbone
from workers.trainer.cache import FeatureCache, Key, cache_folder
from workers.trainer.dataset import Dataset, Example
from workers.trainer.evaluate import Table
from workers.trainer.head import Integers
from workers.trainer.pipeline import Extracted, extract
from workers.trainer.report import Report
from workers.trainer.train import Stopped

UNREADABLE_SHARE = 0.05  # of a job's images; more fail it
NAMED = 20  # unreadable images that the warning names
TELL_EVERY = 0.5  # seconds between two words about the progress


class Features:
    """Rows of all of a job's images, train before val before test. `order` is that in which they will be needed."""

    def __init__(
        self,
        spec: TrainerSpec,
        data: Dataset,
        order: Sequence[int],
        backbone: Backbone,
        report: Report,
        stop_asked: Callable[[], bool],
    ) -> None:
        self._spec, self._data, self._report, self._stop_asked = spec, data, report, stop_asked
        self._examples = data.all
        self._keys = [example.key for example in self._examples]
        self._places = _places(self._keys)
        self._shelf = Path(spec.cache) / spec.tenant
        self._cache = FeatureCache(
            cache_folder(Path(spec.cache), spec.tenant, backbone.sha256, spec.precision), self._places
        )
        self._cache_is_well = True
        self._known = [key for key, places in self._places.items() if self._cache.there[places[0]]]
        self._saved = float(sum(self._cache.seconds[self._places[key][0]] for key in self._known))
        self._losses = UnreadableImages(self._examples, self._known_losses())
        lacking = dict.fromkeys(self._keys[i] for i in order if not self._cache.there[i])
        self._done, self._lacking = 0, len(lacking)
        self._batches = extract([self._examples[self._places[key][0]] for key in lacking], backbone)
        self._began, self._told = time.monotonic(), 0.0

    def __enter__(self) -> "Features":
        self._tell()
        if self._lacking:
            self._with_cache(lambda: cache.trim(self._shelf, self._spec.cache_bytes))
        else:
            self._complete()
        return self

    def __exit__(self, *_: object) -> None:
        """What was computed is kept, however it ended."""
        self._batches.close()
        self._with_cache(self._cache.flush)
        self._with_cache(lambda: cache.trim(self._shelf, self._spec.cache_bytes))

    def _known_losses(self) -> dict[Key, str]:
        lost = [key for key in self._known if not self._cache.readable[self._places[key][0]]]
        return dict.fromkeys(lost, "known from an earlier job")

    def _with_cache(self, act: Callable[[], None]) -> None:
        """A cache that cannot be written costs later jobs a pass, and this one nothing: its rows are in memory."""
        try:
            act()
        except OSError as error:
            if self._cache_is_well:
                what = "later jobs compute these features again"
                self._report.say(
                    WarningLine(message=f"The feature cache could not be written ({error.strerror}); {what}.")
                )
            self._cache_is_well = False

    def tables(self) -> tuple[Table, Table, Table]:
        """train, val, test: rows appear in them as they arrive."""
        sizes = [len(part) for part in (self._data.train, self._data.val, self._data.test)]
        starts = [0, sizes[0], sizes[0] + sizes[1]]
        train, val, test = (self._table(start, size) for start, size in zip(starts, sizes, strict=True))
        return train, val, test

    def _table(self, start: int, size: int) -> Table:
        part = slice(start, start + size)
        labels = torch.tensor([example.label for example in self._examples[part]], dtype=torch.int64)
        arrive = self._arrive if start == 0 else self._arrive_all  # what is held out comes all together
        return Table(self._cache.rows[part], labels, self._cache.readable[part], arrive)

    def _arrive(self, indices: Integers) -> None:
        """Compute until these training images are there. Raises Stopped, DataUnreadable."""
        while self._done < self._lacking and not self._cache.there[indices].all():
            self._take(next(self._batches))
            if self._stop_asked():
                raise Stopped

    def _arrive_all(self, _: Integers) -> None:
        self._arrive(np.arange(len(self._examples)))

    def _take(self, batch: Extracted) -> None:
        self._cache.add(batch.keys, batch.rows, batch.readable, batch.seconds)
        if self._cache.is_due:
            self._with_cache(self._cache.flush)
        self._done += len(batch.keys)
        self._losses.add(batch.unreadable)
        self._tell()
        if self._done == self._lacking:
            self._complete()

    def _tell(self) -> None:
        self._report.features = self._done / self._lacking if self._lacking else 1.0
        if not self._lacking or (self._done < self._lacking and time.monotonic() - self._told < TELL_EVERY):
            return
        self._told = time.monotonic()
        self._say(None)

    def _say(self, message: str | None) -> None:
        seconds = time.monotonic() - self._began
        rate = self._done / seconds if self._done and seconds > 0 else None
        progress = self._report.progress(
            phase="features",
            images=self._done,
            total_images=self._lacking,
            images_per_second=rate and round(rate, 1),
            eta_seconds=rate and round((self._lacking - self._done) / rate, 1),
        )
        self._report.say(PhaseLine(progress=progress, message=message))

    def _complete(self) -> None:
        """All are there. Raises DataUnreadable where fewer than two labels can be learned."""
        seconds = time.monotonic() - self._began
        images, cached = len(self._examples), sum(len(self._places[key]) for key in self._known)
        self._say(f"Features of {images} images: {cached} cached, {self._done} computed in {seconds:.1f} s.")
        self._report.say(FeaturesLine(hits=len(self._known), misses=self._done, seconds_saved=round(self._saved, 3)))
        if self._losses.reasons:
            self._report.say(self._losses.warning())
        self._warn_of_lost_labels()

    def _warn_of_lost_labels(self) -> None:
        """Labels of which no training image can be read."""
        labels = self._spec.labels
        train = zip(self._data.train, self._cache.readable.tolist(), strict=False)  # it comes first
        seen = {example.label for example, readable in train if readable}
        lost = [label for index, label in enumerate(labels) if index not in seen]
        if not lost:
            return
        message = f"No training image of {', '.join(map(repr, lost[:NAMED]))} can be read"
        if len(labels) - len(lost) < 2:
            raise DataUnreadable(f"{message}: fewer than two labels remain.")
        self._report.say(WarningLine(message=f"{message}: never learned.", data={"labels": lost}))


def _places(keys: list[Key]) -> dict[Key, list[int]]:
    """Where each image stands: equal ones share a row and keep their own labels."""
    places: dict[Key, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


class UnreadableImages:
    """The images of a job that cannot be decoded: by content, so that copies count as often as they lie there."""

    def __init__(self, examples: list[Example], reasons: dict[bytes, str]) -> None:
        self._examples, self.reasons = examples, reasons
        self._copies = Counter(example.key for example in examples)
        self._refuse_if_too_many()

    def add(self, reasons: dict[bytes, str]) -> None:
        """Raises DataUnreadable as soon as they are certainly too many."""
        self.reasons |= reasons
        self._refuse_if_too_many()

    def warning(self) -> WarningLine:
        named = {example.image.path: self.reasons[example.key] for example in self._affected()[:NAMED]}
        message = f"{self._count()} of {len(self._examples)} images cannot be read and are left out: {self._names()}."
        return WarningLine(message=message, data={"unreadable": named, "count": self._count()})

    def _refuse_if_too_many(self) -> None:
        if self._count() > UNREADABLE_SHARE * len(self._examples):
            raise DataUnreadable(
                f"More than {UNREADABLE_SHARE:.0%} of {len(self._examples)} images cannot be read, "
                f"among them {self._names()}."
            )

    def _count(self) -> int:
        return sum(self._copies[key] for key in self.reasons)

    def _affected(self) -> list[Example]:
        return [example for example in self._examples if example.key in self.reasons]

    def _names(self) -> str:
        names = [example.image.path for example in self._affected()]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more
