"""A Valkey that nobody else talks to, with a file in its store; and a trainer's parts, each made once a session."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.contract.lines import EXIT_STOPPED
from services.contract.spec import ArchivePaths, TrainerSpec
from services.settings import Settings
from services.store.store import Store, open_store
from tests.conftest import free_port, running_api, running_valkey
from tests.drawing import shapes, zipped
from tests.jobs import Upload
from tests.trainers import PREPARED, attempted, indexed, spec_of
from workers.vision.backbone import Backbone
from workers.vision.device import candidates
from workers.vision.pipeline import BATCH


@pytest.fixture
def quiet(tmp_path: Path, features_dir: Path) -> Iterator[Settings]:
    """A Valkey that nobody else talks to."""
    with running_valkey(tmp_path / "valkey.sock", tmp_path) as url:
        yield Settings(
            data_dir=tmp_path,
            cache_dir=features_dir,
            redis_url=url,
            weights="random:0",
            port=free_port(),
            spare_memory=0,
        )


@pytest.fixture
async def quiet_store(quiet: Settings) -> AsyncIterator[Store]:
    async with open_store(quiet) as store:
        yield store


@pytest.fixture
def file(quiet: Settings, upload: Upload) -> str:
    with running_api(quiet) as client:
        return str(upload(client, zipped(shapes(20, first=800))).json()["id"])


@pytest.fixture(scope="session", autouse=True)
def _small_batches() -> None:
    """In this process: few images are padded to less."""
    BATCH["cpu"] = 8


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], ArchivePaths]:
    """An archive with its index, as the API leaves them."""

    def archive(content: bytes) -> ArchivePaths:
        return indexed(content, tmp_path_factory.mktemp("archive"))

    return archive


@pytest.fixture
def trainer_spec(features_dir: Path, tmp_path: Path) -> Callable[..., TrainerSpec]:
    def trainer_spec(training: ArchivePaths, **changes: Any) -> TrainerSpec:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        return spec_of(training, **{"cache": str(features_dir), "out": str(out)} | changes)

    return trainer_spec


@pytest.fixture(scope="session")
def random_backbone() -> Backbone:
    return Backbone(PREPARED)


@pytest.fixture(scope="session", params=candidates())
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """On each device that this machine has."""
    return Backbone(PREPARED.model_copy(update={"device": request.param}))


@pytest.fixture
def run_trainer() -> Callable[..., list[Any]]:
    """A whole attempt, in this process: what it said. `stop_at`: it is asked to stop after a line of that type."""

    def run(spec: TrainerSpec, *, stop_at: str | None = None, spare: Backbone | None = None) -> list[Any]:
        lines, status = attempted(spec, stop_at=stop_at, spare=spare)
        expected = 1 if lines[-1].type == "failed" else EXIT_STOPPED if stop_at else 0
        assert status == expected, lines[-1:]
        return lines

    return run
