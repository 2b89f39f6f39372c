"""Traces by OpenTelemetry: a request, the attempts at the job that it made, and what each trainer did in them.

Only where OTEL_EXPORTER_OTLP_ENDPOINT is set, or …_TRACES_ENDPOINT, and the extra `traces` installed; else all of this
does nothing, and imports nothing. A trace goes on in another process by its W3C traceparent, a line of text.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from services import __version__
from services.environment import environment

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

ASKED: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
UNTRACED: Final = r"^\w+://[^/]+(?!.*/v1/)(/.*)?/(healthz|readyz|metrics)$"  # asked for each few seconds
# Where a span says what was asked for, by both of OpenTelemetry's conventions: names of photos, tokens of streams.
ADDRESSES: Final = ("http.url", "http.target", "url.full", "url.path", "url.query")
_provider: "TracerProvider | None" = None


def start(service: str) -> None:
    """Of this process, which is called so."""
    global _provider
    if not any(environment().get(name) for name in ASKED) or environment().get("OTEL_TRACES_EXPORTER") == "none":
        return
    try:
        _provider = _exporting(service)
    except ImportError:
        log.warning("%s is set, and OpenTelemetry is not installed: pip install 'headway[traces]'", ASKED[0])
    except Exception as error:  # whatever a variable of OTEL_… may lead to
        log.warning("Nothing is traced: OpenTelemetry says %r", error)


def _exporting(service: str) -> "TracerProvider":
    """Raises whatever OpenTelemetry does."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if environment().get("OTEL_SERVICE_NAME") else {"service.name": service}
    described = Resource.create({"service.version": __version__} | named)
    provider = TracerProvider(resource=described, shutdown_on_exit=False)  # `stop` knows when to give up
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def stop(seconds: float) -> None:
    """What was not sent yet is sent, if a collector takes it within so many: no process waits longer for one."""
    if _provider is not None:
        ending = threading.Thread(target=_provider.shutdown, daemon=True)
        ending.start()
        ending.join(seconds)


def watch(app: "FastAPI") -> None:
    """A span for each request, in the trace of whoever sent it."""
    global _provider
    if _provider is None:
        return
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=_provider,
            excluded_urls=UNTRACED,
            exclude_spans=["receive", "send"],
            server_request_hook=_name_the_route_only,
        )
    except Exception as error:  # whatever a variable of OTEL_… may lead to
        log.warning("Nothing is traced: OpenTelemetry says %r", error)
        _provider = None


def _name_the_route_only(span: Any, _scope: Mapping[str, Any]) -> None:
    known = getattr(span, "attributes", None) or {}  # none where it is not sampled
    for name in ADDRESSES:
        if name in known:
            span.set_attribute(name, "" if name == "url.query" else known.get("http.route", ""))


def here() -> str | None:
    """The traceparent of the span that this is in."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(name: str, parent: str | None = None, **facts: str | int) -> Iterator[None]:
    """`parent`: a traceparent, else the span that this is in."""
    if _provider is None:
        yield
        return
    with _provider.get_tracer("headway").start_as_current_span(name, _context(parent), attributes=_named(facts)):
        yield


def told(name: str, began: float, ended: float) -> None:
    """A span in this one, of what was done elsewhere; Unix times, s."""
    if _provider is not None:
        tracer = _provider.get_tracer("headway")
        tracer.start_span(name, start_time=_nanoseconds(began)).end(_nanoseconds(ended))


def _context(parent: str | None) -> "Context | None":
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _named(facts: Mapping[str, str | int]) -> dict[str, str | int]:
    return {f"headway.{name}": value for name, value in facts.items()}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
