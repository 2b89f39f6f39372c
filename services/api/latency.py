"""How long requests take, by route, for Prometheus: of this process alone, where all else is read from the store."""

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import latency

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
UNMEASURED = ["^/metrics$", "^/healthz$", "^/readyz$"]


def measure(app: FastAPI) -> None:
    """`app.state.latencies` is what they are found in."""
    app.state.latencies = CollectorRegistry()
    instrumentator = Instrumentator(
        should_ignore_untemplated=True, excluded_handlers=UNMEASURED, registry=app.state.latencies
    )
    measured = latency(
        metric_doc="From a request to the first byte of its answer.",
        metric_namespace="headway",
        should_exclude_streaming_duration=True,
        buckets=BUCKETS,
        registry=app.state.latencies,
    )
    assert measured is not None
    instrumentator.add(measured).instrument(app)
