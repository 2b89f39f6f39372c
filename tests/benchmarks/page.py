"""docs/figures.md, written from what was measured: docs/figures/*.json, a file a machine.

`make bench` adds to its own machine's file and writes the page; nothing stands on it that no command gives again.
"""

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from tests.benchmarks.bars import BARS

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FOLDER = DOCS / "figures.md", DOCS / "figures"


class Figure(BaseModel):
    n: int
    median: float
    min: float
    max: float


class Part(BaseModel):
    """What one command measured."""

    name: str
    about: str
    command: str
    figures: dict[str, Figure]
    remark: str = ""


class Machine(BaseModel):
    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    torch: str
    device: str

    @property
    def file(self) -> Path:
        words = re.findall(r"[a-z0-9]+", f"{self.processor} {self.cores} {self.device}".lower())
        return FOLDER / f"{'-'.join(words)}.json"


class Measured(BaseModel):
    machine: Machine
    parts: list[Part]


def keep(machine: Machine, parts: list[Part]) -> None:
    """In the machine's file, in the place of what these parts were before; then the page anew."""
    known = Measured.model_validate_json(machine.file.read_text()).parts if machine.file.exists() else []
    new = {part.name: part for part in parts}
    kept = [new.pop(part.name, part) for part in known]
    measured = Measured(machine=machine, parts=[*kept, *new.values()])
    machine.file.write_text(json.dumps(measured.model_dump(mode="json"), indent=1) + "\n")
    PAGE.write_text(page())


def page() -> str:
    machines = [Measured.model_validate_json(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    lines = [
        "# Figures",
        "",
        "What was measured, on what, and with which command. Both sides of a ratio are measured in turns.",
        "`make bench` writes this page, from `docs/figures/`; on two slow cores all of it takes an hour.",
        "",
    ]
    for measured in machines:
        lines += _section(measured)
    return "\n".join(lines)


def _section(measured: Measured) -> list[str]:
    machine = measured.machine
    where = f"{machine.memory_gb} GB, {machine.system}, Python {machine.python}, torch {machine.torch}"
    device = "" if machine.device == "cpu" else f", {machine.device}"
    lines = [f"## {machine.cores} cores of {machine.processor}{device}", "", f"{where}.", ""]
    for part in measured.parts:
        lines += [f"**{part.about}** `{part.command}`", "", "| | median | min – max | n | bar: floor / stretch |"]
        lines += ["|---|---|---|---|---|", *(_row(name, figure) for name, figure in part.figures.items()), ""]
        lines += [part.remark, ""] if part.remark else []
    return lines


def _row(name: str, figure: Figure) -> str:
    bar = next((bar for bar in BARS if bar.figure == name), None)
    verdict: Literal[""] | str = f"{bar.floor:g} / {bar.stretch:g}: {bar.verdict(figure.median)}" if bar else ""
    spread = f"{_number(figure.min)} – {_number(figure.max)}" if figure.min < figure.max else ""
    return f"| {name} | {_number(figure.median)} | {spread} | {figure.n} | {verdict} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    PAGE.write_text(page())
