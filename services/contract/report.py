"""What was found in an upload before any training: how it was understood, what was left out, and what looks wrong."""

from typing import Literal

from pydantic import BaseModel, Field

from services.contract.contents import Contents
from services.contract.units import Bytes, Object

Severity = Literal["error", "warning", "info"]
IN_SHORT = 20  # findings that a record keeps
NAMED = 20  # labels and images that a finding names; it counts the others


class Finding(BaseModel):
    """Something about a data set that its owner should know, and what to do about it."""

    severity: Severity = Field(description='an "error" would fail every job; a "warning" may be meant')
    code: str = Field(description="its kind, for programs")
    message: str = Field(description="what was found")
    labels: list[str] = Field([], description=f"that it is about; {NAMED} at most")
    images: list[str] = Field([], description=f"or files, by their paths in the archive; {NAMED} at most")
    count: int = Field(0, description="how many images, files or labels it is about")
    remedy: str = Field("", description='what to do about it; "" where nothing has to be done')

    def in_short(self) -> "Finding":
        """As it stands in a file's record."""
        return self.model_copy(update={"labels": self.labels[:3], "images": self.images[:3]})


class LeftOut(BaseModel):
    """Files of the archive that are no images of the data set."""

    reason: str = Field(description="why, in words")
    kind: str = Field(description='by suffix, as ".txt", or "" where it has none')
    count: int = Field(description="files")
    files: list[str] = Field(description=f"the first {NAMED}")


class Sizes(BaseModel):
    """Of the pictures."""

    least: Bytes
    median: Bytes
    most: Bytes


class DataReport(BaseModel):
    """What an upload holds, from its listing alone: no picture was decoded for it."""

    object: Object[Literal["file.report"]] = "file.report"
    rules: int = Field(description="the version of the rules by which folders were read")
    layout: dict[str, str] = Field(description="what each folder was taken for: a split, a label, a wrapper")
    contents: Contents = Field(description="its images, by split and label")
    formats: dict[str, int] = Field(description="pictures by format, from their first bytes")
    sizes: Sizes | None = Field(description="null where it has no pictures")
    left_out: list[LeftOut] = Field(description="by reason and suffix")
    findings: list[Finding] = Field(description="the worst first")

    @property
    def short(self) -> list[Finding]:
        """What a file's record keeps of it: what looks wrong or may be, the worst first."""
        return [finding.in_short() for finding in self.findings if finding.severity != "info"][:IN_SHORT]
