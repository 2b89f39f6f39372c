"""A small picture of an image, as one process asks another for it."""

from typing import Final

from pydantic import Base64Bytes, BaseModel

SIDES: Final = (64, 128, 256, 512, 1024)  # pixels: what is asked for is rounded up to one of them


class ThumbnailOrder(BaseModel):
    """`image` is an index's entry for an image of the archive, whose bytes are at `archive` (see `located`); its longer
    side becomes `side` pixels at most."""

    archive: str
    image: list[str | int]
    side: int


class Thumbnail(BaseModel):
    """`jpeg`, or why there is none."""

    jpeg: Base64Bytes = b""
    refusal: str | None = None
    away: bool = False  # the store of objects
