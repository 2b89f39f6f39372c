"""Settings: what they mean, and the sentence for one that cannot be."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.contract.addresses import LOOPBACK_NAMES, name_of
from services.contract.fleet import Pool
from services.contract.weights import WeightsFile
from services.settings import Settings, settings


@pytest.mark.parametrize(
    ("url", "password", "wanted"),
    [
        ("redis://redis:6379/0", None, "redis://redis:6379/0"),
        ("redis://redis:6379/0", "a b/c@d:%", "redis://:a%20b%2Fc%40d%3A%25@redis:6379/0"),
        ("rediss://ann@redis:6379", "x", "rediss://ann:x@redis:6379"),
        ("redis://:own@redis:6379", "x", "redis://:own@redis:6379"),
        ("unix:///run/valkey.sock", None, "unix:///run/valkey.sock"),
        ("unix:///run/valkey.sock", "x", "unix://:x@/run/valkey.sock"),
        ("redis://h:6379/0?client_name=a@b", "x", "redis://:x@h:6379/0?client_name=a@b"),
        (
            "redis+sentinel://one:1,two:2/main?sentinel_password=p@ss",
            "x",
            "redis+sentinel://:x@one:1,two:2/main?sentinel_password=p@ss",
        ),
    ],
)
def test_the_password_goes_into_the_url_that_has_none(url: str, password: str | None, wanted: str) -> None:
    assert Settings(redis_url=url, redis_password=password).store_url == wanted


def test_the_password_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "redis"
    file.write_text("a/b=\n")
    given: dict[str, Any] = {"redis_url": "redis://redis:6379/0", "redis_password_file": file}
    assert Settings(**given).store_url == "redis://:a%2Fb%3D@redis:6379/0"
    assert Settings(**given, redis_password="own").store_url == "redis://:own@redis:6379/0"
    file.unlink()
    with pytest.raises(SystemExit, match="HEADWAY_REDIS_PASSWORD_FILE"):
        _ = Settings(**given).store_url


def test_the_data_lie_in_the_users_folder_but_where_the_older_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home" / "data"))
    monkeypatch.delenv("HEADWAY_DATA_DIR", raising=False)
    assert Settings().data_dir.is_relative_to(tmp_path / "home")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert Settings().data_dir == Path(".headway")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".headway").mkdir()
    assert Settings().data_dir == Path(".headway")


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
        ("redis://one:1,two:2/0", "for Sentinels give redis+sentinel://"),
        ("redis+sentinel://one,two", "it names no primary"),
        ("redis+sentinel://,/main", "without a host"),
        ("redis+sentinel:///main", "without a host"),
        ("redis+sentinel://one,two/main/prod", "'/prod' is no database"),
        ("redis+sentinel://one:x,two/main", "percent-encode"),
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


SENTINELS = "redis+sentinel://ann:p%40@one,[::1]:26380/main/2?sentinel_password=x"


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://h?db=3", "rediss://u:p%40@h:1/2", "unix:///a/b.sock?db=1", "", SENTINELS]
)
def test_a_redis_url_that_means_one_thing_is_taken(url: str) -> None:
    assert Settings(redis_url=url).redis_url == url


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ({"log_level": "info"}, ("log_level", "INFO")),
        ({"api_key": "hw-abc\n"}, ("api_key", "hw-abc")),
        ({"redis_password": "pw\r\n"}, ("redis_password", "pw")),
        ({"url": "http://h:1/"}, ("url", "http://h:1")),
        ({"data_dir": "~/x"}, ("data_dir", Path.home() / "x")),
        ({"root_path": "/headway/"}, ("root_path", "/headway")),
        ({"weights": "~/w.pth"}, ("weights", WeightsFile(Path.home() / "w.pth"))),
        ({"hosts": "Lab.example:8000, host.docker.internal"}, ("hosts", "Lab.example:8000, host.docker.internal")),
    ],
)
def test_settings_are_read_as_they_were_meant(setting: dict[str, Any], read: tuple[str, Any]) -> None:
    assert getattr(Settings(**setting), read[0]) == read[1]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"api_key": "hw-abc…"}, "cut with an …"),
        ({"url": "127.0.0.1:8000"}, "has no scheme"),
        ({"cors_origins": "localhost:3000"}, "is no origin"),
        ({"root_path": "headway"}, "is no path"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(**setting)


def test_hosts_are_known_with_or_without_their_port_and_in_any_case() -> None:
    assert Settings(hosts="Lab.example:8000, 0.0.0.0:8000").host_names == LOOPBACK_NAMES | {"lab.example", "0.0.0.0"}
    assert [name_of(host) for host in ("LOCALHOST:1", "[::1]:1", "[::1]", "::1", "h")] == [
        "localhost",
        "[::1]",
        "[::1]",
        "::1",
        "h",
    ]


def test_kubernetes_link_to_a_service_named_headway_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWAY_PORT", "tcp://10.43.0.12:8000")
    assert settings.__wrapped__().port == 8000
    assert "passed over" in capsys.readouterr().err
