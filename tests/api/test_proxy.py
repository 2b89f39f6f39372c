"""Behind nginx, as `infra/proxy/nginx.conf` has it: uploads, live streams, connections that idle."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from services.settings import Settings
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped
from tests.jobs import JOBS
from tests.waiting import wait_until

pytestmark = pytest.mark.proxy

CONF = Path(__file__).parents[2] / "infra" / "proxy" / "nginx.conf"
Upload = Callable[..., httpx.Response]


@pytest.fixture
def proxied(settings: Settings, tmp_path: Path) -> Iterator[httpx.Client]:
    """An API behind nginx with the example's configuration, its ports and its certificate put in."""
    own = settings.model_copy(update={"port": free_port(), "hosts": "headway.example"})
    key, crt, port = tmp_path / "h.key", tmp_path / "h.crt", free_port()
    subject = ("-subj", "/CN=headway.example", "-addext", "subjectAltName=DNS:headway.example")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(crt))
    subprocess.run([*made, *subject], check=True, capture_output=True)
    conf = CONF.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{own.port}").replace("443", str(port))
    conf = conf.replace("/etc/nginx/headway.crt", str(crt)).replace("/etc/nginx/headway.key", str(key))
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ access_log off; {conf} }}")
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    with running_api(own):
        server = subprocess.Popen([nginx, "-c", str(whole), "-p", str(tmp_path), "-g", "daemon off;"])
        try:
            trusted = ssl.create_default_context(cafile=str(crt))
            trusted.check_hostname = False  # the address is 127.0.0.1
            headers = {"Host": "headway.example"}
            with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted, headers=headers) as client:
                wait_until(lambda: _answers(client))
                yield client
        finally:
            server.terminate()
            server.wait()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_uploads_jobs_and_live_streams_pass_through(proxied: httpx.Client, upload: Upload) -> None:
    file = upload(proxied, zipped(shapes(3))).json()["id"]
    job = proxied.post(JOBS, json={"training_file": file}).json()["id"]
    began = time.monotonic()
    with proxied.stream("GET", f"{JOBS}/{job}/events", params={"stream": "true"}) as stream:
        assert "Job accepted" in next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert time.monotonic() - began < 2  # nothing was held back


def test_connections_that_idle_longer_than_uvicorns_own_five_seconds_are_used_again(proxied: httpx.Client) -> None:
    for _ in range(2):
        assert proxied.get("/v1/files").status_code == 200
        time.sleep(5.5)  # it is idleness that is tried
    assert proxied.get("/v1/files").status_code == 200
