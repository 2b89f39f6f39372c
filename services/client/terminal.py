"""The terminal: where the command prints, and how it ends with a sentence."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import typer
from rich.console import Console

# What is piped is read by programs: no line of it is broken.
console = Console() if sys.stdout.isatty() else Console(width=10_000)


def shown(text: str) -> str:
    """Names that others gave, for a terminal: without what would steer it or turn its writing round."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def shown_lines(text: str) -> str:
    return "\n".join(map(shown, text.splitlines()))


def print_plain(text: str) -> None:
    """A line as it is, not broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """A line each."""
    for one in objects:
        print(json.dumps(one, ensure_ascii=False))


def fail(message: str) -> NoReturn:
    Console(stderr=True).print(shown_lines(message), style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1)
