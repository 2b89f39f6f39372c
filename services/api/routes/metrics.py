"""What Prometheus scrapes: read from the store at each scrape, so that every API process tells the same; and how long
this one's requests took."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import NoPermissionError

from services.api.deps import TheStore, TheStreams
from services.contract.fleet import AutoscalerReport, Worker
from services.store.keys import KINDS
from services.store.totals import Count, KindCount, Totals, read_totals
from services.store.webhooks import Overdue

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, store: TheStore, streams: TheStreams) -> Response:
    """Counts, and nobody's data: it needs no key."""
    totals = await read_totals(store.redis)
    waiting, workers = await store.jobs.waiting(), await store.workers.all()
    families = [
        _gauge("jobs_queued", "Jobs that wait, by the device kind that they wait for.", waiting),
        _gauge(
            "workers_demand", "Jobs that wait, and workers that have one: what to scale on.", _demand(waiting, workers)
        ),
        _one_gauge("jobs_running", "Jobs that a worker owns.", await store.jobs.running()),
        _one_gauge("jobs_set_aside", "Jobs that this version cannot read.", len(await store.jobs.aside())),
        *_ends(totals),
        *_features(totals),
        *_webhooks(totals, await store.webhooks.overdue()),
        _workers(workers),
        *_autoscaler(await store.autoscaling.read(), totals),
        *_memory(await _info(store)),
        _one_gauge("streams_open", "Live event streams of this API process.", streams.open),
    ]
    told = generate_latest(_registry(families)) + generate_latest(request.app.state.latencies)
    return Response(told, media_type=CONTENT_TYPE_LATEST)


async def _info(store: TheStore) -> Mapping[str, int]:
    """Empty where Redis keeps that from us."""
    try:
        return await store.redis.info("memory")
    except NoPermissionError:
        return {}


def _ends(totals: Totals) -> Iterator[Metric]:
    """What has been counted since the store was made."""
    yield _counter("jobs_submitted", "Jobs accepted.", totals[Count.SUBMITTED])
    ends = {status.value: count for status, count in totals.ends.items()}
    yield _counters("jobs_ended", "Jobs that ended.", "status", ends)
    yield _counter("attempts", "Claims of a job by a worker.", totals[Count.ATTEMPTS])
    yield _counter("attempts_lost", "Attempts whose worker or trainer died.", totals[Count.ATTEMPTS_LOST])
    handed_on = totals[Count.ATTEMPTS_HANDED_ON]
    yield _counter("attempts_handed_on", "Attempts that gave their job back, as asked.", handed_on)
    yield _counter("device_seconds", "Seconds that attempts held a device.", totals[Count.DEVICE_MS] / 1000)
    yield SummaryMetricFamily(
        "headway_queue_wait_seconds",
        "From a submission to its first attempt.",
        count_value=totals[Count.STARTED],
        sum_value=totals[Count.WAITED_MS] / 1000,
    )


def _features(totals: Totals) -> Iterator[Metric]:
    found = {"hit": totals[Count.FEATURE_HITS], "miss": totals[Count.FEATURE_MISSES]}
    yield _counters("features", "Images that jobs found in the cache, or not.", "result", found)
    saved = totals[Count.FEATURE_MS_SAVED] / 1000
    yield _counter("feature_seconds_saved", "Seconds that features found in the cache had once taken.", saved)


def _webhooks(totals: Totals, overdue: Overdue) -> Iterator[Metric]:
    found = {
        "delivered": totals[Count.WEBHOOKS_DELIVERED],
        "failed": totals[Count.WEBHOOKS_FAILED],
        "dropped": totals[Count.WEBHOOKS_DROPPED],
    }
    yield _counters("webhook_deliveries", "Messages that came through, were given up or dropped.", "result", found)
    yield _one_gauge("webhook_deliveries_due", "Messages that wait for a sender.", overdue.count)
    yield _one_gauge("webhook_unattended_seconds", "For how long no sender has looked for them.", overdue.unattended)


def _demand(waiting: Mapping[str, int], workers: Sequence[Worker]) -> dict[str, int]:
    """By the kind that a job waits for, and that a busy worker is of."""
    busy = Counter(worker.kind for worker in workers if worker.job is not None)
    return {kind: waiting.get(kind, 0) + busy[kind] for kind in KINDS}


def _workers(workers: list[Worker]) -> Metric:
    counts = Counter((worker.kind, worker.status) for worker in workers)
    family = GaugeMetricFamily("headway_workers", "Workers that report themselves.", labels=["kind", "status"])
    for (kind, status), count in counts.items():
        family.add_metric([kind, status], count)
    return family


def _autoscaler(told: AutoscalerReport, totals: Totals) -> Iterator[Metric]:
    yield _one_gauge("autoscaler_up", "Whether an autoscaler works.", told.alive)
    yield _one_gauge("autoscaler_problem", "Whether workers cannot be started.", told.alive and bool(told.problem))
    now = told.now if told.alive else []
    yield _gauge("workers_needed", "Workers that would leave no job waiting.", {d.kind: d.needed for d in now})
    yield _gauge("workers_target", "Workers that the autoscaler wants.", {d.kind: d.target for d in now})
    yield _gauge("worker_starts_failed", "Starts in a row without a worker.", {d.kind: d.failed_starts for d in now})
    yield _gauge("workers_failing", "Workers that run and do not work.", {d.kind: d.failing for d in now})
    for what in KindCount:
        counts = {pool.kind: totals.of_kind(what, pool.kind) for pool in told.pools}
        yield _counters(f"workers_{what}", f"Workers {what} by the autoscaler.", "kind", counts)


def _memory(info: Mapping[str, int]) -> Iterator[Metric]:
    if info:
        yield _one_gauge("redis_memory_bytes", "What Redis uses.", info["used_memory"])
        yield _one_gauge("redis_memory_max_bytes", "Its maxmemory; 0 for none.", info["maxmemory"])


# --- spelled for Prometheus ----------------------------------------------------------------------------------------


def _one_gauge(name: str, help: str, value: float) -> Metric:
    return GaugeMetricFamily(f"headway_{name}", help, value=value)


def _gauge(name: str, help: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"headway_{name}", help, labels=["kind"])
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family


def _counter(name: str, help: str, value: float) -> Metric:
    return CounterMetricFamily(f"headway_{name}", help, value=value)


def _counters(name: str, help: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"headway_{name}", help, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _registry(families: list[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricFamilies(families))
    return registry


class MetricFamilies(Collector):
    """What was read, as a registry wants it."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
