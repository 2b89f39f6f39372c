"""What pydantic says of a wrong field, in the words of people who have never heard of it: the value, and the remedy."""

import difflib
import json
import re
from collections.abc import Collection
from typing import Any, Final, get_args

from services.contract.asked import CreateJob
from services.contract.layout import Layout
from services.contract.recipe import CheckpointPlan, EarlyStopping, Hyperparameters, Sweep

MOST = 60  # characters of a value that are echoed
MODELS: Final = (CreateJob, Hyperparameters, Sweep, EarlyStopping, CheckpointPlan, Layout)
KNOWN: Final = sorted({name for model in MODELS for name in model.model_fields})
MEANT: Final = {  # what others call it
    "lr": "learning_rate",
    "bs": "batch_size",
    "wd": "weight_decay",
    "classes": "num_labels",
    "num_classes": "num_labels",
    "file": "training_file",
    "file_id": "training_file",
    "validation_split": "split",
    "early_stop": "early_stopping",
}
FORMS: Final = {"suffix": "use letters, digits, '.', '_' and '-', 64 at most"}  # of what must fit a pattern
KINDS: Final = {
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "string": "a text",
    "bool": "true or false",
}


def names_of(body: Any) -> Collection[str]:
    """Of the fields that a request's body may have: of a job's at any depth, as people put them anywhere."""
    models = [body, *get_args(body)]
    return KNOWN if CreateJob in models else {n for model in models for n in getattr(model, "model_fields", ())}


def in_words(error: Any, known: Collection[str] = KNOWN) -> str:
    """Of one of `ValidationError.errors()`; `known` are the fields that may have been meant."""
    kind, value, name = error["type"], error.get("input"), str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        return f"unknown field{_suggestion(name, known)}"
    if kind == "missing":
        return "required"
    if kind == "string_pattern_mismatch":
        return f"{_echo(value)} is not taken: {FORMS.get(name, 'see /docs for its form')}"
    if isinstance(value, str) and kind.startswith(("float_", "int_")):
        example = "3" if kind.startswith("int_") else "0.01"
        return f"{_echo(value)} is a text: {_as_number(value, example)}"
    if (wanted := KINDS.get(kind.partition("_")[0])) and kind.endswith(("_type", "_parsing", "_attributes_type")):
        return f"give {wanted}, not {_echo(value)}"
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:] + (f", not {_echo(value)}" if _is_plain(value) and kind != "conflict" else "")


def _suggestion(name: str, known: Collection[str]) -> str:
    meant = [MEANT.get(name.lower()), *difflib.get_close_matches(name.lower(), known, 2)]
    close = next((other for other in meant if other in known and other != name), None)
    return f": did you mean {close}?" if close else ""


def _as_number(text: str, example: str) -> str:
    number = text.strip().replace(",", ".")
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", number):
        return f"write {number.removeprefix('+')}, without quotes"
    return f"give a number, as {example}"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _echo(value: Any) -> str:
    if not _is_plain(value):
        return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "that"
    said = repr(value) if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= MOST else f"{said[:MOST]}…"
