"""Settings: what they mean, and the sentence for one that cannot be."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.contract.fleet import Pool
from services.settings import Settings


@pytest.mark.parametrize(
    ("url", "password", "wanted"),
    [
        ("redis://redis:6379/0", None, "redis://redis:6379/0"),
        ("redis://redis:6379/0", "a b/c@d:%", "redis://:a%20b%2Fc%40d%3A%25@redis:6379/0"),
        ("rediss://ann@redis:6379", "x", "rediss://ann:x@redis:6379"),
        ("redis://:own@redis:6379", "x", "redis://:own@redis:6379"),
        ("unix:///run/valkey.sock", None, "unix:///run/valkey.sock"),
    ],
)
def test_the_password_goes_into_the_url_that_has_none(url: str, password: str | None, wanted: str) -> None:
    assert Settings(redis_url=url, redis_password=password).store_url == wanted


def test_pools_are_read_in_order() -> None:
    pools = Settings(autoscale="cuda=0-1, cpu=1-16").pools
    assert pools == [Pool(kind="cuda", min=0, max=1), Pool(kind="cpu", min=1, max=16)]


@pytest.mark.parametrize(
    "autoscale", ["", "cpu", "cpu=2", "cpu=3-1", "gpu=0-1", "cpu=0-1,cpu=0-2", "cpu=-1-2", "cpu=0-1;"]
)
def test_what_names_no_pools_is_refused_with_an_example(autoscale: str) -> None:
    with pytest.raises(ValidationError, match=r"cuda=0-1,cpu=0-2|named twice"):
        Settings(autoscale=autoscale)


@pytest.mark.parametrize("setting", [{"autoscale_cooldown": -1}, {"autoscale_provider": "cloud"}])
def test_other_settings_of_the_autoscaler_are_checked(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**setting)
