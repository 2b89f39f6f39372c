"""The dashboard: html, css and ES modules, with no build step; a client of the public API like any other."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
