"""An uploaded file, and what it holds."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

Split = Literal["train", "val", "test"]


class Contents(BaseModel):
    """A file's images in short: `labels[split][label]` is a count."""

    images: int
    labels: dict[Split, dict[str, int]]
    ignored: int = 0

    def of(self, split: Split) -> dict[str, int]:
        return self.labels.get(split, {})


class Listed(BaseModel):
    """What became of an archive, as one process tells another: refused, hindered by the operating system, or listed."""

    refusal: str | None = None
    errno: int | None = None
    strerror: str | None = None
    data: Path | None = None
    index: Path | None = None
    contents: Contents | None = None


class File(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    sha256: str
    contents: Contents
