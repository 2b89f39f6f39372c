"""Writes docs/reference/openapi.json from the routes (`make docs`); a test compares it."""

import json
from pathlib import Path

from services.api.main import create_app
from services.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "openapi.json"


def written() -> str:
    return json.dumps(create_app(Settings()).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
