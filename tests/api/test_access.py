"""Who may do what: tenants by their keys; without keys, this machine only."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from services.api import auth
from services.keysfile import new_key
from services.settings import Settings
from tests.api.conftest import problem
from tests.conftest import free_port, running_api
from tests.drawing import shapes, zipped

Upload = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def keyed(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """An API with two tenants, and their keys."""
    data = tmp_path_factory.mktemp("keyed")
    file = data / "keys.jsonl"
    keys = {tenant: new_key(file, tenant) for tenant in ("ann", "bob")}
    with running_api(Settings(data_dir=data, redis_url=valkey_url, port=free_port(), api_keys_file=file)) as client:
        yield client, keys


def tenant_of(keys: auth.Keys, key: str) -> str | None:
    known = keys.of(key)
    return known.tenant if known else None


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_route_under_v1_wants_a_key_and_the_rest_does_not(keyed: tuple[httpx.Client, dict[str, str]]) -> None:
    client, _ = keyed
    spec = client.get("/openapi.json").json()
    for path, methods in spec["paths"].items():
        for method in methods:
            url, headers = path.replace("{", "").replace("}", ""), {"Content-Type": "application/json"}
            answer = client.request(method, url, content=b"{", headers=headers)  # which is not even looked at
            if path.startswith("/v1/"):
                assert problem(answer, 401)["error"]["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
            else:
                assert answer.status_code == 200, path


@pytest.mark.parametrize("header", ["Bearer hw-wrong", "Bearer", "Basic abc", "hw-wrong", "Bearer \u00e9"])
def test_a_wrong_key_is_401(keyed: tuple[httpx.Client, dict[str, str]], header: str) -> None:
    client, _ = keyed
    problem(client.get("/v1/files", headers={b"Authorization": header.encode()}), 401)


def test_tenants_never_see_each_others_things(keyed: tuple[httpx.Client, dict[str, str]], upload: Upload) -> None:
    client, keys = keyed
    ann, bob = bearer(keys["ann"]), bearer(keys["bob"])
    file = upload(client, zipped(shapes(2)), headers=ann).json()["id"]
    job = client.post("/v1/fine_tuning/jobs", json={"training_file": file}, headers=ann).json()["id"]
    of_file, of_job = f"files/{file}", f"fine_tuning/jobs/{job}"
    of_images = f"{of_file}/images", f"{of_file}/images/circle/000.png"  # drawn for ann, and still not bob's
    for path in (of_file, f"{of_file}/content", *of_images, of_job, f"{of_job}/events"):
        assert client.get(f"/v1/{path}", headers=ann).status_code == 200
        problem(client.get(f"/v1/{path}", headers=bob), 404)
    problem(client.get(f"/v1/{of_job}/evaluation/images", headers=bob), 404)
    problem(client.post(f"/v1/fine_tuning/jobs/{job}/cancel", headers=bob), 404)
    problem(client.post("/v1/fine_tuning/jobs", json={"training_file": file}, headers=bob), 422)
    for path in ("files", "fine_tuning/jobs"):
        assert client.get(f"/v1/{path}", headers=bob).json()["data"] == []


def test_a_key_that_is_added_works_at_once(keyed: tuple[httpx.Client, dict[str, str]], tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    new_key(file, "ann")
    keys = auth.Keys(file)
    assert keys.of("hw-none") is None
    key = new_key(file, "cat")
    assert tenant_of(keys, key) == "cat"
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_without_keys_only_this_machines_names_are_answered(api: httpx.Client, host: str) -> None:
    problem(api.get("/v1/files", headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "[::1]", "localhost"])
def test_this_machines_own_names_are_answered(api: httpx.Client, host: str) -> None:
    assert api.get("/v1/files", headers={"Host": host}).status_code == 200


def test_without_keys_another_sites_page_cannot_submit(api: httpx.Client) -> None:
    problem(api.post("/v1/fine_tuning/jobs", json={}, headers={"Origin": "https://evil.example"}), 403)
    own = str(api.base_url).rstrip("/")
    assert api.get("/v1/files", headers={"Origin": own}).status_code == 200


def serve(settings: Settings) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.api"]
    return subprocess.run(
        command, env=settings.as_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_an_open_service_may_name_what_it_answers_to(redis_url: str, tmp_path: Path) -> None:
    """As in compose: published on this machine, where a page in a browser could reach it by a name of its own."""
    config = Settings(data_dir=tmp_path, redis_url=redis_url, port=free_port(), open=True, hosts="api, api.internal")
    with running_api(config) as client:
        for host, status in [("api:8000", 200), ("api.internal", 200), ("localhost", 200), ("evil.example", 403)]:
            assert client.get("/v1/workers", headers={"Host": host}).status_code == status, host


def test_without_keys_another_host_is_refused_with_the_reason(tmp_path: Path) -> None:
    done = serve(Settings(data_dir=tmp_path, host="0.0.0.0", port=free_port()))
    assert done.returncode == 1
    assert "HEADWAY_HOST=0.0.0.0" in done.stderr
    assert "headway keys new" in done.stderr
    assert "HEADWAY_OPEN=1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_keys_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text('{"sha256": "short", "tenant": "ann"}\n')
    done = serve(Settings(data_dir=tmp_path, port=free_port(), api_keys_file=file))
    assert done.returncode == 1
    assert "line 1" in done.stderr
    done = serve(Settings(data_dir=tmp_path, port=free_port(), api_keys_file=tmp_path / "missing"))
    assert done.returncode == 1
    assert "HEADWAY_API_KEYS_FILE" in done.stderr


def test_with_keys_no_tenant_drains_the_workers_of_all(keyed: tuple[httpx.Client, dict[str, str]]) -> None:
    client, keys = keyed
    problem(client.post("/v1/workers/any/drain", headers=bearer(keys["ann"])), 403)


def test_a_keys_file_that_breaks_while_we_run_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    key = new_key(file, "ann")
    keys = auth.Keys(file)
    assert tenant_of(keys, key) == "ann"
    file.write_text("broken")
    assert tenant_of(keys, key) == "ann"
    file.unlink()
    assert tenant_of(keys, key) == "ann"
