"""Imports point one way, and the API needs no torch."""

import subprocess
import sys
from pathlib import Path


def test_the_contracts_of_the_house_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_api_starts_without_torch() -> None:
    code = (
        "import sys; from services.api.main import create_app; create_app(); "
        "import services.reaper, services.client.main; "
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'torchvision', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_supervising_side_of_a_worker_starts_without_torch() -> None:
    code = "import sys; import workers.main; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_environment_is_read_in_one_place() -> None:
    house = Path(__file__).parents[1]
    readers = {
        str(path.relative_to(house))
        for folder in ("services", "workers")
        for path in (house / folder).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    assert readers == {"services/settings.py"}
