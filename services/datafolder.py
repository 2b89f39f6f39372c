"""Where everything lies that no setting places: the user's own folder for data."""

import os
from pathlib import Path
from typing import Final

import platformdirs

HERE: Final = Path(".headway")  # where it lay once: it is used where it is there
ABOUT: Final = (
    "where everything lies that is not placed elsewhere: the user's folder for data (`~/.local/share/headway`, "
    "`~/Library/Application Support/headway`), or `./.headway` where it is there"
)


def usual() -> Path:
    """The user's folder for data, but where `./.headway` is there, or that folder cannot be written."""
    home = platformdirs.user_data_path("headway", appauthor=False)
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    return HERE if HERE.is_dir() or not os.access(there, os.W_OK | os.X_OK) else home


def others(used: Path) -> list[Path]:
    """Where an earlier run may have left its data, though they are not those in use: here or above, beside the code,
    with the user."""
    above = [folder / HERE for folder in (Path.cwd(), *Path.cwd().parents)]
    places = [
        *above,
        Path(__file__).resolve().parents[1] / HERE,
        platformdirs.user_data_path("headway", appauthor=False),
    ]
    seen = {place.resolve(): None for place in places if (place / "files").is_dir()}
    return [place for place in seen if place != used.resolve()]
