"""How the house is built: rooms and functions one can take in at a glance, and one class a name."""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from services.api.dashboard import assets

ROOT = Path(__file__).parents[1]
MODULES = [path for folder in ("services", "workers") for path in sorted((ROOT / folder).rglob("*.py"))]
ROOM, FUNCTION = 300, 40  # lines


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def test_no_room_is_longer_than_can_be_read_at_once() -> None:
    assert [str(path) for path in MODULES if len(path.read_text().splitlines()) > ROOM] == []


def test_no_function_is_longer_than_a_screen() -> None:
    """But the ones that only list: a view's fields, a command's options."""
    listing = {"job_view", "of_fields", "train"}
    long = [
        f"{path.name}: {node.name}"
        for path, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION
        and node.name not in listing
    ]
    assert long == []


def test_no_two_classes_share_a_name() -> None:
    names = Counter(node.name for _, node in nodes() if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_what_the_page_needs_is_packaged() -> None:
    folder = ROOT / "services" / "dashboard"
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packaged = {path for pattern in globs["services.dashboard"] for path in folder.glob(pattern)}
    assert {folder / path for path in assets()} <= packaged
