"""What a data set holds, in short."""

from typing import Literal

from pydantic import BaseModel, Field

Split = Literal["train", "val", "test"]

LISTED = 100  # labels up to which a list shows each one's count


class Contents(BaseModel):
    """A file's images in short."""

    images: int = Field(description="of all splits together")
    labels: dict[Split, dict[str, int]] = Field(
        description=f"images by split, then by label; in a list, none of a split with more than {LISTED}"
    )
    ignored: int = Field(0, description="files that are no images of it; the report says which, and why")
    splits_left_out: list[Split] = Field([], description="those whose pictures have none of train's labels")

    def of(self, split: Split) -> dict[str, int]:
        return self.labels.get(split, {})

    def in_short(self) -> "Contents":
        """As it stands in a list."""
        few = {split: counts if len(counts) <= LISTED else {} for split, counts in self.labels.items()}
        return self.model_copy(update={"labels": few})

    @property
    def validating(self) -> Split | None:
        """The split that validates where the file is a validation file."""
        return next((split for split in ("val", "train", "test") if self.of(split)), None)

    @property
    def names(self) -> list[str]:
        """The labels that are trained, by name: the order in which a head's outputs stand."""
        return sorted(self.of("train"))
