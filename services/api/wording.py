"""What pydantic says of a wrong field, in the words of people who have never heard of it."""

from typing import Any


def in_words(error: Any) -> str:
    """Of one of `ValidationError.errors()`."""
    if error["type"] == "extra_forbidden":
        return "unknown field"
    if error["type"] == "missing":
        return "required"
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
