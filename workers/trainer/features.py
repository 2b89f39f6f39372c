"""The features of a job's images as its training meets them: waited for as they are needed, told as they come."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch

from services.contract.errors import DataUnreadable
from services.contract.lines import FeaturesLine, PhaseLine, WarningLine
from services.contract.progress import FeatureUsage
from services.contract.spec import TrainerSpec
from services.pictures.shown import NOTES
from workers.trainer.report import Report
from workers.trainer.stop import Stopped
from workers.trainer.table import Table
from workers.vision.arrays import Integers
from workers.vision.backbone import Backbone
from workers.vision.dataset import Dataset, Example
from workers.vision.rows import Rows
from workers.vision.segments import Key
from workers.vision.shards import Helpers

NAMED = 20  # unreadable images that the warning names


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
        helpers: Helpers | None = None,
    ) -> None:
        self._spec, self._data, self._report, self._stop_asked = spec, data, report, stop_asked
        self._examples = data.all
        self._cache_is_well = True
        self._rows = Rows(self._examples, order, backbone, spec, self._warn_of_cache, helpers)
        self._unreadable = UnreadableImages(self._examples, self._rows.known_unreadable(), spec.max_unreadable)
        self._told, self._began = 0.0, time.time()
        report.pass_share = self._rows.missing / max(1, self._rows.missing + len(self._rows.known))

    def __enter__(self) -> "Features":
        self._tell()
        if self._rows.is_complete:
            self._complete()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """What was computed is kept, however it ended; where it was stopped, at once."""
        self._rows.close(here_only=kind is not None)

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
        return Table(self._rows.features[part], labels, self._rows.readable[part], arrive)

    def _arrive(self, indices: Integers) -> None:
        """Compute until these training images are there. Raises Stopped, DataUnreadable."""
        while not self._rows.are_there(indices):
            self._unreadable.add(self._rows.compute_next().unreadable)
            self._report.moves()
            self._tell()
            if self._rows.is_complete:
                self._complete()
            if self._stop_asked():
                raise Stopped

    def _arrive_all(self, _: Integers) -> None:
        self._arrive(np.arange(len(self._examples)))

    # --- what is told --------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """How far it is, now and then."""
        rows, now = self._rows, time.monotonic()
        self._report.features = rows.computed / rows.missing if rows.missing else 1.0
        if rows.missing and (rows.is_complete or now - self._told >= self._spec.timing.progress):
            self._told = now
            self._say_phase(None)

    def _say_phase(self, message: str | None) -> None:
        rows = self._rows
        rate = rows.computed / rows.seconds if rows.computed and rows.seconds > 0 else None
        progress = self._report.progress(
            phase="features",
            images=rows.computed,
            total_images=rows.missing,
            images_per_second=rate and round(rate, 1),
            eta_seconds=rate and round((rows.missing - rows.computed) / rate, 1),
        )
        self._report.say(PhaseLine(progress=progress, message=message))

    def _complete(self) -> None:
        """All are there. Raises DataUnreadable where fewer than two labels can be learned."""
        self._report.did("features", self._began)
        rows, images = self._rows, len(self._examples)
        cached = rows.copies(rows.known)
        self._say_phase(
            f"Features of {images} images: {cached} cached, {rows.computed} computed in {rows.seconds:.1f} s."
        )
        usage = FeatureUsage(hits=len(rows.known), misses=rows.computed, seconds_saved=round(rows.seconds_saved, 3))
        self._report.say(FeaturesLine(usage=usage))
        if self._unreadable.reasons:
            self._report.say(self._unreadable.warning())
        self._warn_of_notes()
        self._warn_of_lost_labels()

    def _warn_of_cache(self, error: OSError) -> None:
        if self._cache_is_well:
            self._cache_is_well = False
            message = f"The feature cache could not be written ({error.strerror})"
            self._report.say(WarningLine(message=f"{message}; later jobs compute these features again."))

    def _warn_of_notes(self) -> None:
        """Of images that were read, and perhaps not as they were meant."""
        for code, sentence in NOTES.items():
            noted = {key for key, said in self._rows.said.items() if code in said.notes}
            if named := [example.image.path for example in self._examples if example.key in noted]:
                message = f"{len(named)} images {sentence}: {in_short(named)}."
                self._report.say(WarningLine(code=f"images_{code}", message=message, data={"images": named[:NAMED]}))

    def _warn_of_lost_labels(self) -> None:
        """Labels of which no training image can be read."""
        labels = self._spec.labels
        train = zip(self._data.train, self._rows.readable.tolist(), strict=False)  # it comes first
        seen = {example.label for example, readable in train if readable}
        lost = [label for index, label in enumerate(labels) if index not in seen]
        if not lost:
            return
        message = f"No training image of {', '.join(map(repr, lost[:NAMED]))} can be read"
        if len(labels) - len(lost) < 2:
            raise DataUnreadable(f"{message}: fewer than two labels remain.")
        data = {"labels": lost[:NAMED]}
        self._report.say(WarningLine(code="labels_lost", message=f"{message}: never learned.", data=data))


class UnreadableImages:
    """The images of a job that cannot be decoded: by content, so that copies count as often as they lie there."""

    def __init__(self, examples: list[Example], reasons: dict[Key, str], share: float) -> None:
        self._examples, self.reasons, self._share = examples, reasons, share
        self._most = max(1, int(share * len(examples))) if share else 0  # one file never fails a small set
        self._copies = Counter(example.key for example in examples)
        self._refuse_if_too_many()

    def add(self, reasons: dict[Key, str]) -> None:
        """Raises DataUnreadable as soon as they are certainly too many."""
        self.reasons |= reasons
        self._refuse_if_too_many()

    def warning(self) -> WarningLine:
        named = {example.image.path: self.reasons[example.key] for example in self._affected()[:NAMED]}
        message = f"{self._count()} of {len(self._examples)} images cannot be read and are left out: {self._names()}."
        data = {"unreadable": named, "count": self._count()}
        return WarningLine(code="unreadable_images", message=message, data=data)

    def _refuse_if_too_many(self) -> None:
        if self._count() > self._most:
            raise DataUnreadable(
                f"More than {self._share:.0%} of {len(self._examples)} images cannot be read (max_unreadable): "
                f"{self._names()}."
            )

    def _count(self) -> int:
        return sum(self._copies[key] for key in self.reasons)

    def _affected(self) -> list[Example]:
        return [example for example in self._examples if example.key in self.reasons]

    def _names(self) -> str:
        """With the reason of each."""
        return in_short([f"{example.image.path} ({self.reasons[example.key]})" for example in self._affected()])


def in_short(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
