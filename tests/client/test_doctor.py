"""What `headway doctor` finds in environments that others made."""

from pathlib import Path
from typing import Any

import pytest
import redis

from services.client.doctor import Diagnosis, findings
from services.settings import Settings
from services.store import keys

WELL: dict[str, Any] = {"weights": "random:0"}


def found(config: Settings, **environment: str) -> dict[str, Diagnosis]:
    return {finding.about: finding for finding in findings(config, environment)}


def test_a_well_environment_has_nothing_wrong(tmp_path: Path) -> None:
    all = found(Settings(data_dir=tmp_path, **WELL))
    assert [finding.about for finding in all.values() if finding.verdict == "wrong"] == []
    assert all["the service"].verdict == "note"  # none runs


@pytest.mark.parametrize(
    ("setting", "about", "says"),
    [
        ({"data_dir": Path("/dev/null/data")}, "data folder", "cannot be written"),
        ({"weights": "/no/such.pth"}, "weights", "there is no file /no/such.pth"),
        ({"host": "0.0.0.0"}, "who may call", "headway keys new"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "Redis", "cannot be reached"),
        ({"redis_url": "redis://127.0.0.1:1/0?colour=red"}, "Redis", "option colour"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, setting: dict[str, Any], about: str, says: str) -> None:
    finding = found(Settings(**({"data_dir": tmp_path} | WELL | setting)))[about]
    assert (finding.verdict, says in finding.said) == ("wrong", True), finding


def test_what_others_set_is_named(tmp_path: Path) -> None:
    config = Settings(data_dir=tmp_path, **WELL)
    assert "httpx[socks]" in found(config, ALL_PROXY="socks5://127.0.0.1:1")["proxies"].said
    assert "HTTP_PROXY" in found(config, HTTP_PROXY="http://proxy")["proxies"].said
    assert "named headway" in found(config, HEADWAY_SERVICE_HOST="10.0.0.1")["Kubernetes' links"].said


def test_a_store_with_jobs_set_aside_is_noted(redis_url: str, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.ASIDE, "ftjob-x", "why")
    finding = found(Settings(data_dir=tmp_path, redis_url=redis_url, **WELL))["Redis"]
    assert (finding.verdict, "ftjob-x" in finding.said) == ("note", True)
