"""A bucket of a real S3 server (moto's) on loopback, and what can go wrong with one."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from services import objects

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Bucket:
    """`refuses`: that many of the next requests get a 503, or all; `cuts`: that many of the next answers end in the
    middle; `denies`: no keys are good enough; `lists_nothing`: what was put lately is in no listing yet."""

    refuses: float = 0
    cuts: int = 0
    delay: float = 0.0
    denies: bool = False
    lists_nothing: bool = False
    most_at_once: int = 0  # requests, so far
    url: str = "s3://bucket/folder"

    @property
    def keys(self) -> list[str]:
        return [url.removeprefix(f"{self.url}/") for url, _ in objects.beginning_with(f"{self.url}/")]


def environment(port: int) -> dict[str, str]:
    """What leads to a server there."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


@contextmanager
def bucket(port: int = 0) -> Iterator[Bucket]:
    """What leads there is in this process's environment meanwhile."""
    made = Bucket()
    app = _at_fault(DomainDispatcherApplication(create_backend_app), made)
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    given = environment(server.server_port)
    httpx.post(f"{given['AWS_ENDPOINT_URL']}/moto-api/reset").raise_for_status()
    httpx.put(f"{given['AWS_ENDPOINT_URL']}/bucket").raise_for_status()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        objects._bucket.cache_clear()
        yield made
    objects._bucket.cache_clear()
    server.shutdown()
    server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


def _at_fault(app: App, bucket: Bucket) -> App:
    under_way: list[None] = []

    def faulty(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        under_way.append(None)
        bucket.most_at_once = max(bucket.most_at_once, len(under_way))
        time.sleep(bucket.delay)
        under_way.pop()
        if bucket.refuses > 0:
            bucket.refuses -= 1
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        if bucket.denies:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if bucket.lists_nothing and "list-type=2" in environ["QUERY_STRING"]:
            start_response("200 OK", [("Content-Type", "application/xml")])
            return [b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>"]
        if bucket.cuts > 0 and environ["REQUEST_METHOD"] == "GET":
            bucket.cuts -= 1
            whole = b"".join(app(environ, start_response))
            return _cut(whole)
        return app(environ, start_response)

    return faulty


def _cut(whole: bytes) -> Iterator[bytes]:
    yield whole[: len(whole) // 2]
    raise ConnectionAbortedError("the test cuts it")
