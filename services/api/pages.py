"""A page of a list, in OpenAI's form."""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from services.contract.errors import InvalidRequest
from services.contract.ids import is_id

T = TypeVar("T", bound=BaseModel)


def cursor(after: str | None, prefix: str) -> str | None:
    """`after`, once it is an id of this list. Raises InvalidRequest."""
    if after is not None and not is_id(after, prefix):
        raise InvalidRequest(f"after: no {prefix} id; give the last_id of the page before", param="after")
    return after


class Page(BaseModel, Generic[T]):
    object: Literal["list"] = "list"
    data: Sequence[T]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


def page(items: Sequence[T], has_more: bool = False) -> Page[T]:
    ids = [str(getattr(item, "id", "")) for item in items]
    return Page(data=items, has_more=has_more, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None)
