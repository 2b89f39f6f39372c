"""An uploaded file, and what it holds."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

Split = Literal["train", "val", "test"]


LISTED = 100  # labels up to which a list shows each one's count


class Contents(BaseModel):
    """A file's images in short: `labels[split][label]` is a count; in lists, of few labels only."""

    images: int
    labels: dict[Split, dict[str, int]]
    ignored: int = 0

    def of(self, split: Split) -> dict[str, int]:
        return self.labels.get(split, {})

    def in_short(self) -> "Contents":
        """As it stands in a list."""
        few = {split: counts if len(counts) <= LISTED else {} for split, counts in self.labels.items()}
        return self.model_copy(update={"labels": few})

    @property
    def names(self) -> list[str]:
        """The labels that are trained, by name: the order in which a head's outputs stand."""
        return sorted(self.of("train"))


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
    expires_at: int | None = None
    contents: Contents
