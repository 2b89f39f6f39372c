"""An uploaded file, and what it holds."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from services.contract.contents import Contents
from services.contract.layout import GUESSED, Layout
from services.contract.report import Finding


class ListingOrder(BaseModel):
    """What one process asks another to list: `path`, to be read as `layout` says; what is made lies beside `draft`."""

    path: Path
    draft: Path
    layout: Layout = GUESSED


class Listed(BaseModel):
    """What became of an archive, as one process tells another: refused, hindered by the operating system, or listed."""

    refusal: str | None = None
    errno: int | None = None
    strerror: str | None = None
    data: Path | None = None
    index: Path | None = None
    report: Path | None = None
    contents: Contents | None = None
    findings: list[Finding] = []


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
    layout: Layout | None = Field(None, description="as it was stated with the upload; null where folders were read")
    findings: list[Finding] = Field([], description="what looks wrong or may be; GET …/report has all of it")
