"""The real parts that tests speak to: a Valkey, an API process, a whole stack."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

from services.client import stack
from services.client.stack import Stack
from services.contract.model import ComputeDevice, ImageCounts, Receipt, Result
from services.contract.recipe import Hyperparameters
from services.contract.spec import JobSpec
from services.process import embedded
from services.settings import Settings
from services.store.leases import WorkerProfile
from services.store.store import Store, open_store
from tests import buckets
from tests.budget import Budget, counted
from tests.gated.gate import NAME as GATE
from tests.gated.nursery import NAME as NURSERY
from tests.receivers import Receiver, receiving
from tests.reports import computed
from tests.waiting import wait_until

# What every lease, timeout and pause is multiplied by in the failure tests: a lease of six seconds keeps its sense.
# The nightly run sets it to 1.
TIME_SCALE = float(os.environ.get("TESTS_TIME_SCALE", "0.2"))


# --- how tests are run ---------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", action="store_true", help="fail where the tests cost more than tests/budget.py allows")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Budget(enforced=config.getoption("--budget")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    return (yield from counted(item, "setup"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    return (yield from counted(item, "call"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    return (yield from counted(item, "teardown"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begins."""
    items.sort(key=lambda item: FIRST.index(of) if (of := process_of(item.nodeid)) in FIRST else len(FIRST))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """What shares something dear runs in one process. (xdist's own marks do not reach pytest 9.2.)"""

    class ByProcess(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return process_of(nodeid)

    return ByProcess(config, log)


FIRST = ("the house", "the stack", "tests/client/test_stack.py", "tests/autoscaler/test_loop.py")


def process_of(nodeid: str) -> str:
    """By a test's file: those of one house or one stack are one."""
    file = nodeid.split("::")[0]
    if file.startswith("tests/chaos/") and file != "tests/chaos/test_streams.py":
        return "the house"
    return "the stack" if file.startswith(("tests/e2e/", "tests/client/test_command.py")) else file


# --- what they speak to --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """For sockets, whose paths may not be long."""
    with tempfile.TemporaryDirectory(prefix="headway-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def valkey_url(short_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey, for the whole session."""
    with running_valkey(short_folder / "valkey.sock", tmp_path_factory.mktemp("valkey")) as url:
        yield url


@contextmanager
def running_valkey(socket_path: Path, data: Path, *more: str) -> Iterator[str]:
    server = subprocess.Popen([*embedded.arguments(data, socket_path), *more], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: embedded.answers(socket_path))
        yield f"unix://{socket_path}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """The same Valkey, empty."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    return valkey_url


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, redis_url=redis_url, weights="random:0", spare_memory=0)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    async with open_store(settings) as opened:
        yield opened


def raw(store: Store) -> Any:
    """The client itself, for commands that the store never calls."""
    return store.redis


def profile(id: str = "worker-a", device: str = "cpu") -> WorkerProfile:
    return WorkerProfile(id, device, lambda spec: str(spec.weights), computed("fp32"))


def result(model: str = "ft:resnet18::x") -> Result:
    """What a job that succeeded leaves."""
    receipt = Receipt(
        num_labels=2,
        split=0.2,
        seed=0,
        hyperparameters=Hyperparameters(),
        precision="fp32",
        images=ImageCounts(train=1, val=1, test=0),
        data_sha256="",
        weights="random:0",
        weights_sha256="",
        preprocess="",
        device=ComputeDevice(name="cpu", model="cpu", processor="any"),
        versions={},
    )
    return Result(model=model, place="local/models/x/1", exports={}, receipt=receipt)


def spec(**changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "model": "resnet18",
        "weights": "random:0",
        "training_file": "file-0",
        "validation_file": None,
        "split": 0.2,
        "num_labels": 2,
        "hyperparameters": Hyperparameters(),
        "feature_scaling": "none",
        "precision": "fp32",
        "early_stopping": None,
        "checkpoints": {},
        "export": ["pt"],
        "seed": 0,
        "device": "auto",
        "priority": 0,
        "limits": {},
        "suffix": None,
        "metadata": None,
        "asked": {},
    }
    return JobSpec.model_validate(fields | changes)


# --- processes -----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_api(settings: Settings) -> Iterator[httpx.Client]:
    """A real API process, without workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services.api", "--tethered"],
        stdin=subprocess.PIPE,
        env=settings.as_environment(),
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{settings.port}"
    try:
        wait_until(lambda: process.poll() is not None or _answers(url))
        assert process.poll() is None
        with httpx.Client(base_url=url, timeout=30.0) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=15)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1.0).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def api_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def predictor_socket(short_folder: Path) -> Path:
    """Where the API looks for a predictor; who wants one starts it."""
    return short_folder / "predictor.sock"


@pytest.fixture(scope="session")
def _api(valkey_url: str, api_data: Path, predictor_socket: Path) -> Iterator[httpx.Client]:
    config = Settings(
        data_dir=api_data,
        redis_url=valkey_url,
        weights="random:0",
        port=free_port(),
        max_upload_bytes=3_000_000,
        predictor_url=f"unix://{predictor_socket}",
    )
    with running_api(config) as client:
        yield client


@pytest.fixture
def api(_api: httpx.Client, redis_url: str) -> httpx.Client:
    """An API whose store is empty."""
    return _api


@pytest.fixture(scope="session")
def upload() -> Callable[..., httpx.Response]:
    def upload(
        client: httpx.Client, content: bytes, name: str = "images.zip", fields: Mapping[str, str] = {}, **more: Any
    ) -> httpx.Response:
        form = {"purpose": "fine-tune", **fields}
        return client.post("/v1/files", data=form, files={"file": (name, content)}, **more)

    return upload


@pytest.fixture(scope="session")
def features_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features that the session's tests share, in all of its processes: each image goes through the backbone once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "features"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def bucket_port() -> int:
    """Where trainers of the nursery look for a bucket; who wants one starts it."""
    return free_port()


@pytest.fixture(scope="session")
def nursery(short_folder: Path, bucket_port: int) -> Iterator[Path]:
    """From here on, workers of `tests.gated.worker` that are started have their trainers of one nursery; no gate."""
    path = short_folder / "nursery.sock"
    given = {NURSERY: str(path), GATE: str(short_folder / "gate"), "OPENBLAS_NUM_THREADS": "1"}
    known = os.environ | given | buckets.environment(bucket_port)
    process = subprocess.Popen([sys.executable, "-m", "tests.gated.nursery", str(path)], env=known)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        wait_until(path.exists)
        yield path
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def the_stack(nursery: Path, features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, as `headway up` runs it, with two workers. Their trainers are forked from one that has torch, and
    their preflight is taken as passed: client/test_stack.py has both for real."""
    config = Settings(
        data_dir=tmp_path_factory.mktemp("stack"),
        cache_dir=features_dir,
        weights="random:0",
        port=free_port(),
        spare_memory=0,
        webhook_networks="127.0.0.0/8",
    )
    with stack.running(config, workers=2, worker="tests.gated.worker") as running:
        with httpx.Client(base_url=running.url) as client:
            wait_until(lambda: len(client.get("/v1/workers").json()["data"]) == 2, seconds=120)
        yield running


@pytest.fixture
def service(the_stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=the_stack.url, timeout=30.0) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Of webhooks."""
    with receiving() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADWAY_")]:
        monkeypatch.delenv(name)


def nonce() -> str:
    return secrets.token_hex(8)
