"""Traces never stand in the way: what cannot be traced is said, and a collector that is silent is not waited for."""

import socket
import subprocess
import sys
import time

import pytest

from services import tracing
from services.api.main import create_app
from services.settings import Settings


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(tracing, "_provider", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x"), ("OTEL_BSP_MAX_QUEUE_SIZE", "1")]
)
def test_a_variable_that_is_wrong_ends_no_process(traced: pytest.MonkeyPatch, name: str, value: str) -> None:
    """In a process of its own, which reads them once."""
    traced.setenv(name, value)
    code = "from fastapi import FastAPI; from services import tracing; tracing.start('a'); tracing.watch(FastAPI())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Nothing is traced" in done.stderr


def test_there_is_one_way_to_trace(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = create_app(settings)
    assert not [wish for wish in ("tracing", "metrics", "logs", "auto_configure") if app._telemetry[wish]]


def test_an_exporter_may_be_none(traced: pytest.MonkeyPatch) -> None:
    traced.setenv("OTEL_TRACES_EXPORTER", "none")
    tracing.start("test")
    assert tracing._provider is None


def test_a_collector_that_never_answers_is_not_waited_for(traced: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        traced.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracing.start("test")
        with tracing.span("work"):
            pass
        began = time.monotonic()
        tracing.stop(0.2)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("url", "is_traced"),
    [
        ("http://h:8000/metrics", False),
        ("http://h/headway/readyz", False),
        ("http://metrics.example.com/v1/files", True),
        ("http://h/v1/fine_tuning/jobs/ftjob-1/metrics", True),
        ("http://h/headway/v1/fine_tuning/jobs/ftjob-1/metrics", True),
    ],
)
def test_only_what_is_asked_for_each_few_seconds_is_left_out(url: str, is_traced: bool) -> None:
    from opentelemetry.util.http import parse_excluded_urls

    assert parse_excluded_urls(tracing.UNTRACED).url_disabled(url) is not is_traced
