"""One trace of a job: from its submission, through its claim and what its trainer did, to the stored model."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.client import stack
from services.settings import Settings
from tests.conftest import free_port
from tests.drawing import shapes
from tests.jobs import Upload, ended, submitted
from tests.waiting import wait_until

SECRET = "patient-x"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Collector:
    """Of OTLP over HTTP, as a Jaeger or a Tempo is one."""

    url: str = ""
    spans: list[tuple[str, Span]] = field(default_factory=list)  # with the service's name


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = ExportTraceServiceRequest()
            told.ParseFromString(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            for of_service in told.resource_spans:
                name = next(a.value.string_value for a in of_service.resource.attributes if a.key == "service.name")
                collector.spans += [(name, span) for scope in of_service.scope_spans for span in scope.spans]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


@pytest.mark.slow
def test_a_job_is_one_trace_from_its_submission_to_its_model(
    nursery: Path, features_dir: Path, tmp_path: Path, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Settings(data_dir=tmp_path, cache_dir=features_dir, weights="random:0", port=free_port(), spare_memory=0)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with (
            stack.running(config, workers=1, worker="tests.gated.worker", predictor=False) as running,
            httpx.Client(base_url=running.url, timeout=30, headers={"traceparent": CALLER}) as client,
        ):
            job = ended(client, submitted(client, upload, shapes(6), n_epochs=3))
            assert job["status"] == "succeeded"
            client.get(f"/v1/fine_tuning/jobs/{job['id']}/metrics", params={"stream_token": SECRET})
            client.get(f"/v1/files/{job['training_file']}/images/{SECRET}.png")
            client.get(f"/{SECRET}")
            wait_until(lambda: "attempt" in {span.name for _, span in collector.spans})
    spans = {span.name: (service, span) for service, span in collector.spans}
    assert not [name for name in spans if "readyz" in name or "healthz" in name]
    assert "GET /v1/fine_tuning/jobs/{job_id}/metrics" in spans
    assert not [span for _, span in collector.spans if SECRET in str(span)]
    posted = spans["POST /v1/fine_tuning/jobs"][1]
    attempt = spans["attempt"][1]
    assert posted.trace_id.hex() == attempt.trace_id.hex() == CALLER.split("-")[1]
    assert posted.parent_span_id.hex() == CALLER.split("-")[2]
    assert attempt.parent_span_id == posted.span_id
    assert {a.key: a.value.string_value for a in attempt.attributes}["headway.job"] == job["id"]
    inner = ["claim", "load", "features", "train", "evaluate", "export", "store model"]
    for name in inner:
        service, span = spans[name]
        assert (service, span.trace_id, span.parent_span_id) == ("headway-worker", attempt.trace_id, attempt.span_id)
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= attempt.end_time_unix_nano
    begins = [spans[name][1].start_time_unix_nano for name in ("load", "train", "evaluate", "export", "store model")]
    assert begins == sorted(begins)
