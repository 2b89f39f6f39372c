"""An uploaded file, and what it holds."""

from typing import Literal

from pydantic import BaseModel, Field

from services.contract.contents import Contents, Split
from services.contract.layout import GUESSED, Layout
from services.contract.report import Finding
from services.contract.units import Id, Object, Sha256, UnixTime


class ListingOrder(BaseModel):
    """What one process asks another to list: `path`, to be read as `layout` says; what is made lies beside `draft`.
    All of it by where it is (see `located`)."""

    path: str
    draft: str
    layout: Layout = GUESSED


class Listed(BaseModel):
    """What became of an archive, as one process tells another: refused, hindered by the operating system, or listed."""

    refusal: str | None = None
    errno: int | None = None
    strerror: str | None = None
    data: str | None = None
    index: str | None = None
    report: str | None = None
    away: bool = False  # the store of objects: then it is no operating system's error
    contents: Contents | None = None
    findings: list[Finding] = []


class FileImage(BaseModel):
    """One image of a file's data set."""

    id: str = Field(description="its path in the archive; the next page's after")
    object: Object[Literal["file.image"]] = "file.image"
    label: str = Field(description="that it was read with")
    split: Split = Field(description="that it was read as part of")
    bytes: int = Field(description="of the image")
    sha256: Sha256


class File(BaseModel):
    id: Id
    object: Object[Literal["file"]] = "file"
    bytes: int = Field(description="of the upload")
    created_at: UnixTime
    filename: str = Field(description="as it was uploaded, without folders")
    purpose: Literal["fine-tune"] = Field("fine-tune", description="the only one there is")
    status: Literal["processed"] = Field("processed", description="always: it was listed as its upload ended")
    sha256: Sha256
    expires_at: int | None = Field(None, description="Unix time, s, at which it goes by itself; null: it stays")
    contents: Contents = Field(description="its images, by split and label")
    layout: Layout | None = Field(None, description="as it was stated with the upload; null where folders were read")
    findings: list[Finding] = Field([], description="what looks wrong or may be; GET …/report has all of it")
