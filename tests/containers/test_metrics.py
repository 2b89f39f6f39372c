"""Prometheus, as the profile `metrics` brings it: it finds the API, and its rules are rules."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port
from tests.containers.project import ROOT, Project
from tests.waiting import wait_until


@pytest.fixture
def prometheus(project: Project) -> Iterator[httpx.Client]:
    settings = {"COMPOSE_PROFILES": "metrics", "PROMETHEUS_PORT": str(free_port())}
    project.compose("up", "--detach", "--no-deps", "prometheus", settings=settings)
    with httpx.Client(base_url=f"http://127.0.0.1:{settings['PROMETHEUS_PORT']}/api/v1", timeout=10) as client:
        wait_until(lambda: is_up(client), seconds=60)
        yield client


def is_up(prometheus: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        answer = prometheus.get("/query", params={"query": "up"})
        return answer.status_code == 200 and "1" in [found["value"][1] for found in answer.json()["data"]["result"]]
    return False


def queries(dashboard: Path) -> list[str]:
    panels = json.loads(dashboard.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def test_prometheus_scrapes_the_api_and_knows_every_series_of_the_rules_and_of_the_dashboard(
    prometheus: httpx.Client,
) -> None:
    [group] = prometheus.get("/rules").json()["data"]["groups"]
    assert len(group["rules"]) == (ROOT / "infra/prometheus/alerts.yml").read_text().count("- alert: ")
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    wanted = [rule["query"] for rule in group["rules"]] + queries(ROOT / "infra/grafana/dashboards/headway.json")
    for query in wanted:
        assert prometheus.get("/query", params={"query": query}).status_code == 200, query
    wait_until(lambda: set(re.findall(r"headway_\w+", " ".join(wanted))) <= known(prometheus), seconds=60)


def known(prometheus: httpx.Client) -> set[str]:
    """Series. Those of requests are there once any was answered, which our own are not."""
    return set(prometheus.get("/label/__name__/values").json()["data"])
