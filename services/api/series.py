"""A job's series on its way out: read in pieces, so that neither memory nor the loop notices how long it is."""

import csv
import io
from collections import Counter
from collections.abc import AsyncIterator
from math import ceil

from pydantic import BaseModel, Field

from services.contract.progress import leader_of
from services.store.events import POINT, SERIES, Events, point_of
from services.store.record import JobRecord

MOST = 100_000  # points of a job, if no other number is asked for


class Series(BaseModel):
    """One curve: each step with its value."""

    step: list[int] = Field([], description="a trial's own, from 1")
    value: list[float] = Field([], description="at that step: nats (cross-entropy); of val_accuracy, 0 to 1")


class TrialSeries(BaseModel):
    trial: int = Field(description="its number, from 0")
    series: dict[str, Series] = Field(description="by name: train_loss, val_loss, val_accuracy")


class JobMetrics(BaseModel):
    """A job's curves."""

    object: str = Field("fine_tuning.job.metrics", description="what this is")
    series: dict[str, Series] = Field(
        description="by name: train_loss, val_loss, val_accuracy; of a sweep, its best trial's so far"
    )
    trials: list[TrialSeries] = Field([], description="of a sweep: each trial's")
    points: int = Field(description="that there are; fewer stand here if that is more than was asked for")
    every_step: int = Field(description="of a trial's steps, each how manyth is kept")


async def in_json(events: Events, record: JobRecord, most: int) -> JobMetrics:
    """At most `most` points and two more a series: evenly chosen from each, the first and the last among them."""
    counts: Counter[int] = Counter()
    async for piece in events.pieces(record.id):
        counts.update(piece[:: POINT.size])
    share = max(1, most // max(1, len(counts)))
    strides = {name: ceil(count / share) for name, count in counts.items()}
    trials = [TrialSeries(trial=trial, series={name: Series() for name in SERIES}) for trial in _trials(record)]
    seen: Counter[int] = Counter()
    async for piece in events.pieces(record.id):
        for name, step, value in POINT.iter_unpack(piece):
            seen[name] += 1
            if (seen[name] - 1) % strides.setdefault(name, 1) == 0 or seen[name] == counts[name]:
                point = point_of(name, step, value)
                series = trials[point.trial].series[point.series]
                series.step.append(step)
                series.value.append(value)
    leader = leader_of(record.latest.trials or [])
    return JobMetrics(
        series=trials[leader.trial if leader else 0].series,
        trials=trials if record.spec.sweep else [],
        points=counts.total(),
        every_step=record.spec.points_every,
    )


async def in_csv(events: Events, record: JobRecord) -> AsyncIterator[str]:
    """All points there are."""
    columns = 4 if record.spec.sweep else 3  # the last one is the trial
    yield _rows([("series", "step", "value", "trial")[:columns]])
    async for piece in events.pieces(record.id):
        yield _rows([point_of(*packed)[:columns] for packed in POINT.iter_unpack(piece)])


def _rows(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _trials(record: JobRecord) -> range:
    return range(len(record.spec.trials))
