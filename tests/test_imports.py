"""Imports point one way, the trainer knows only what it may, and the API needs no torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
VISION = {
    "services.contract",
    "services.datasets",
    "services.environment",
    "services.located",
    "services.pictures",
    "torch",
    "torchvision",
    "numpy",
    "PIL",
    "openvino",
    "pillow_heif",
    "pydantic",
    "pydantic_core",
    "safetensors",
    "services.process.tether",
    "simplejpeg",
    "torchcodec",
}

# What a room may import beside itself and the standard library.
ALLOWED = {
    "services.contract": {"pydantic", "pydantic_core"},
    "services.datasets": {"services.contract", "services.located", "chardet"},
    "services.pictures": {"services.contract", "services.datasets", "numpy", "PIL", "pillow_heif"},
    "workers.vision": VISION,
    "workers.trainer": VISION | {"workers.vision", "services", "onnx"},
    "workers.predictor": VISION | {"workers.vision", "services.settings", "starlette", "uvicorn"},
}


def linted(root: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_contracts_of_the_house_are_kept() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("services/contract/ids.py", "from services.store import keys", "the rooms of services"),
        ("services/store/keys.py", "from services.process import managed", "the rooms of services"),
        ("services/attic.py", "", "the rooms of services"),
        ("workers/vision/images.py", "from workers.trainer import head", "the rooms of workers"),
        ("workers/relay.py", "from workers.trainer import report", "the supervising side of a worker imports no torch"),
    ],
)
def test_an_import_that_is_forbidden_is_caught(tmp_path: Path, file: str, line: str, broken: str) -> None:
    for name in ("services", "workers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as module:
        module.write(f"\n{line}\n")
    done = linted(tmp_path)
    assert done.returncode == 1
    verdicts = [said for said in done.stdout.splitlines() if said.startswith(broken) and said.endswith("BROKEN")]
    assert verdicts, done.stdout


def imported_by(graph: grimp.ImportGraph, room: str) -> set[str]:
    """What the modules of a room import from outside it, shortened to the names that stand in ALLOWED."""
    known = {name for allowed in ALLOWED.values() for name in allowed} | set(ALLOWED)
    modules = {room, *graph.find_descendants(room)}
    found = {name for module in modules for name in graph.find_modules_directly_imported_by(module)} - modules
    short = set()
    for name in found - {room}:
        parents = [name.rsplit(".", depth)[0] for depth in range(name.count(".") + 1)]
        short.add(next((parent for parent in parents if parent in known and parent != "services"), name))
    return {name for name in short if name.split(".")[0] not in sys.stdlib_module_names}


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_no_more_than_its_list_allows(room: str) -> None:
    graph = grimp.build_graph("services", "workers", include_external_packages=True)
    assert imported_by(graph, room) <= ALLOWED[room]


def test_an_import_that_is_not_on_the_list_is_seen() -> None:
    graph = grimp.build_graph("services", "workers", include_external_packages=True)
    for stranger in ("redis", "services.settings", "services.store.keys"):
        if stranger not in graph.modules:
            graph.add_module(stranger, is_squashed=True)
        graph.add_import(importer="workers.trainer.head", imported=stranger)
    assert imported_by(graph, "workers.trainer") - ALLOWED["workers.trainer"] == {
        "redis",
        "services.settings",
        "services.store.keys",
    }


@pytest.mark.parametrize(
    ("modules", "strangers"),
    [
        ("services.api.main, services.reaper, services.client.main", {"torch", "torchvision", "numpy"}),
        ("workers.main", {"torch", "torchvision", "numpy"}),
        ("workers.trainer.__main__", {"torch", "torchvision", "numpy", "pydantic"}),
        pytest.param("workers.trainer.process, workers.predictor.app", {"onnx", "torchvision"}, marks=pytest.mark.slow),
    ],
)
def test_what_must_start_fast_starts_without(modules: str, strangers: set[str]) -> None:
    code = f"import sys, {modules}; print({strangers!r} & {{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("services", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    assert readers == {"services/environment.py"}
