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


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6379", "an address without a scheme is not supported"),
        ("sentinel://127.0.0.1:26379/0", "sentinel:// is not supported"),
        ("http://127.0.0.1", "http:// is not supported"),
        ("redis://:p@ss/w#1@127.0.0.1:6379/0", "percent-encode"),
        ("redis://:a/b@127.0.0.1:6379/0", "percent-encode"),
        ("redis://:a?b@127.0.0.1:6379/0", "percent-encode"),
        ("redis://:a@b@127.0.0.1:6379/0", "percent-encode"),
        ("redis://:a[b@127.0.0.1:6379/0", "percent-encode"),
        ("redis://127.0.0.1:6379/prod", "'/prod' is no database"),
        ("redis://127.0.0.1:6379?db=prod", "its db is no number"),
    ],
)
def test_a_redis_url_that_would_be_misread_is_refused_in_a_sentence_without_its_password(
    url: str, sentence: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url=url)
    (error,) = refused.value.errors()
    assert error["loc"] == ("redis_url",)
    assert sentence in error["msg"]
    assert "p@ss" not in error["msg"]


@pytest.mark.parametrize("url", ["redis://h", "redis://h?db=3", "rediss://u:p%40@h:1/2", "unix:///a/b.sock?db=1", ""])
def test_a_redis_url_that_means_one_thing_is_taken(url: str) -> None:
    assert Settings(redis_url=url).redis_url == url
