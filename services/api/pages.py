"""A page of a list, in OpenAI's form."""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from services.contract.errors import InvalidRequest
from services.contract.ids import is_id
from services.contract.units import Object

T = TypeVar("T", bound=BaseModel)

LOOKED_AT = 20_000  # lines of a file that a request looks through at most: of a million they are 5 s


def cursor(after: str | None, prefix: str) -> str | None:
    """`after`, once it is an id of this list. Raises InvalidRequest."""
    if after is not None and not is_id(after, prefix):
        raise InvalidRequest(f"after: no {prefix} id; give the last_id of the page before", param="after")
    return after


class Page(BaseModel, Generic[T]):
    object: Object[Literal["list"]] = "list"
    data: Sequence[T] = Field(description="what stands on this page")
    has_more: bool = Field(False, description="the list goes on after last_id")
    first_id: str | None = Field(None, description="null where the page is empty")
    last_id: str | None = Field(None, description="the next page's after; null where the page is empty")


def page(items: Sequence[T], has_more: bool = False, *, last_id: str | None = None) -> Page[T]:
    """`last_id`, where the list was looked through beyond the last item."""
    ids = [str(getattr(item, "id", "")) for item in items]
    return Page(
        data=items, has_more=has_more, first_id=ids[0] if ids else None, last_id=last_id or (ids[-1] if ids else None)
    )
