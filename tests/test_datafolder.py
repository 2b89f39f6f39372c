"""Where the data lie, and who says that older ones lie elsewhere."""

from pathlib import Path

import pytest

from services import datafolder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, and a place below it to stand in."""
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    monkeypatch.setattr("platformdirs.user_data_path", lambda *args, **more: home / "share" / "headway")
    monkeypatch.setattr(datafolder, "__file__", str(home / "code" / "services" / "datafolder.py"))
    monkeypatch.chdir(home / "project")
    return home


def test_older_data_are_seen_here_above_beside_the_code_and_with_the_user(home: Path) -> None:
    used = home / "chosen"
    places = [home / "project" / ".headway", home / ".headway", home / "code" / ".headway", home / "share" / "headway"]
    for place in (used, *places):
        (place / "files").mkdir(parents=True)
    assert datafolder.others(used) == places
    assert datafolder.others(places[0]) == places[1:]


def test_a_folder_that_nothing_was_kept_in_is_no_older_data(home: Path) -> None:
    (home / "project" / ".headway" / "cache").mkdir(parents=True)
    assert datafolder.others(home / "chosen") == []
