"""What is deleted is gone from the workers' caches too, and nothing that another file still has."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import torch

from services.contract.timing import UNSCALED
from services.settings import Settings
from services.store.store import Store
from tests.conftest import running_api
from tests.drawing import shapes, zipped
from workers.forgetting import forget_what_is_due
from workers.vision.backbone import DIM
from workers.vision.segments import FeatureCache

pytestmark = pytest.mark.anyio

Upload = Callable[..., httpx.Response]


def cached(folder: Path, pictures: list[bytes]) -> None:
    """Each in a segment of its own."""
    for picture in pictures:
        key = hashlib.sha256(picture).digest()
        cache = FeatureCache(folder, {key: [0]}, UNSCALED)
        cache.add([key], torch.ones(1, DIM), {}, 1.0)
        cache.flush()


def are_there(folder: Path, pictures: list[bytes]) -> list[bool]:
    keys = [hashlib.sha256(picture).digest() for picture in pictures]
    return FeatureCache(folder, {key: [place] for place, key in enumerate(keys)}, UNSCALED).there.tolist()


async def test_features_go_with_the_last_file_that_has_the_picture(
    quiet: Settings, quiet_store: Store, upload: Upload, tmp_path: Path
) -> None:
    config = quiet.model_copy(update={"cache_dir": tmp_path / "cache"})
    folder = config.features_dir / "local" / "space"
    both, one = shapes(2, first=700), shapes(4, first=700)  # the first two of each label are in both
    pictures = [one[name] for name in sorted(one)]
    with running_api(quiet) as api:
        small, large = (upload(api, zipped(files)).json()["id"] for files in (both, one))
        cached(folder, pictures)
        assert api.delete(f"/v1/files/{large}").status_code == 200
        await forget_what_is_due(quiet_store, config)
        kept = [picture in both.values() for picture in pictures]
        assert are_there(folder, pictures) == kept
        assert any(kept)
        assert not all(kept)
        cached(folder, [picture for picture, there in zip(pictures, kept, strict=True) if not there])
        await forget_what_is_due(quiet_store, config)  # what was forgotten once is not forgotten again
        assert all(are_there(folder, pictures))
        assert api.delete(f"/v1/files/{small}").status_code == 200
        await forget_what_is_due(quiet_store, config)
        assert are_there(folder, pictures) == [not there for there in kept]
