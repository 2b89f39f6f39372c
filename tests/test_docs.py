"""The pages: links lead somewhere, the front door is a page long, and what is written from code is as the code is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import openapi_page, settings_page
from services.settings import Settings
from tests.benchmarks import page

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "infra").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = HEADING.findall(path.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_page_of_settings_is_theirs() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run `make docs`"
    assert all(field.description for field in Settings.model_fields.values())


def test_the_openapi_document_is_that_of_the_routes() -> None:
    assert openapi_page.PAGE.read_text(encoding="utf-8") == openapi_page.written(), "run `make docs`"


def test_every_refusal_of_every_route_is_a_problem_that_generators_know() -> None:
    document = json.loads(openapi_page.written())
    assert {"HTTPValidationError", "Job-Input", "Job-Output"}.isdisjoint(document["components"]["schemas"])
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"] and not operation["summary"].istitle(), path
            for status, response in operation["responses"].items():
                if status >= "400" and path.startswith("/v1/"):
                    assert list(response["content"]) == ["application/problem+json"]


def test_every_property_of_every_schema_is_described() -> None:
    """With its unit, where it has one: `services/contract/units.py` has those that recur."""
    assert [
        place for place, about in properties(json.loads(openapi_page.written())) if not about.get("description")
    ] == []


def properties(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Of a schema and of all within, wherever they stand."""
    inner = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for name, part in inner:
        if name == "properties":
            yield from ((f"{place}.{field}", about) for field, about in part.items())
        yield from properties(part, f"{place}.{name}")


def test_the_page_of_figures_is_what_was_measured() -> None:
    assert page.PAGE.read_text() == page.page(), "run `make docs`"


def test_each_alert_has_its_line_in_the_runbook_and_is_tested() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "infra/prometheus/alerts.yml").read_text())
    runbook = re.findall(r"^\| (Headway\w+) \|", (ROOT / "infra/README.md").read_text(), re.MULTILINE)
    assert sorted(runbook) == sorted(alerts)
    tests = (ROOT / "infra/prometheus/alerts_test.yml").read_text()
    for alert in alerts:
        _, *cases = re.split(rf"alertname: {alert}\b", tests)
        fires = [case.lstrip().startswith("exp_alerts") for case in cases]
        assert any(fires), alert
        assert not all(fires), alert
