"""A Valkey that nobody else talks to, with a file in its store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.settings import Settings
from services.store.store import Store, open_store
from tests.conftest import free_port, running_api, running_valkey
from tests.drawing import shapes, zipped
from tests.jobs import Upload


@pytest.fixture
def quiet(tmp_path: Path, features_dir: Path) -> Iterator[Settings]:
    """A Valkey that nobody else talks to."""
    with running_valkey(tmp_path / "valkey.sock", tmp_path) as url:
        yield Settings(data_dir=tmp_path, cache_dir=features_dir, redis_url=url, weights="random:0", port=free_port())


@pytest.fixture
async def quiet_store(quiet: Settings) -> AsyncIterator[Store]:
    async with open_store(quiet) as store:
        yield store


@pytest.fixture
def file(quiet: Settings, upload: Upload) -> str:
    with running_api(quiet) as client:
        return str(upload(client, zipped(shapes(20, first=800))).json()["id"])
