"""Processes of ours look nowhere but where Python does: the modules that tests run in them are here."""

import os
from pathlib import Path

os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
