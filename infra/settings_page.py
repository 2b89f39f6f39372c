"""Writes docs/reference/settings.md from the settings themselves: `make docs`."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from services.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
SIZES = {2**30: "GiB", 2**20: "MiB"}


def page() -> str:
    rows = [f"| `HEADWAY_{name.upper()}` | {_shown(name, of)} | {of.description} |" for name, of in _fields()]
    return "\n".join(
        [
            "# Settings",
            "",
            "Every setting, read from the environment by each of our processes; the command's options say the same.",
            "An empty one counts as unset. This page is written by `make docs`.",
            "",
            "| setting | default | |",
            "|---|---|---|",
            *rows,
            "",
            "Compose passes on those that `docker-compose.yml` names, and has some of its own:",
            "[deploy](../how-to/deploy.md).",
            "",
        ]
    )


def _fields() -> list[tuple[str, FieldInfo]]:
    return list(Settings.model_fields.items())


def _shown(name: str, of: FieldInfo) -> str:
    default: Any = None if of.default_factory else of.default
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        return "`0`" if not default else "`1`"
    size = next((size for size in SIZES if isinstance(default, int) and default >= size and not default % size), None)
    return (
        f"{default // size} {SIZES[size]}"
        if size
        else f"`{default:g}`"
        if isinstance(default, float)
        else f"`{default}`"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
