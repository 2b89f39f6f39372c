"""An upload that comes in parts, as OpenAI has it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.contract.file import File
from services.contract.layout import GUESSED, Layout
from services.contract.units import Id, Object, UnixTime

PART_BYTES = 64 * 1024**2  # of one part
PARTS = 1000


class ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"] = Field(description="from when: the file's making")
    seconds: int = Field(ge=3600, le=2_592_000, description="s from then until the file goes by itself")


class NewUpload(BaseModel):
    """What will come."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(description="the file's")
    bytes: Annotated[int, Field(gt=0, description="of all parts together")]
    purpose: Literal["fine-tune"] = Field(description="the only one there is")
    mime_type: Annotated[str, StringConstraints(max_length=255)] = Field("", description="OpenAI's; not used")
    expires_after: ExpiresAfter | None = Field(None, description="when the file goes by itself; null: it stays")
    layout: Layout = Field(GUESSED, description="what its folders mean, where guessing would be wrong")


class CompletedParts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    part_ids: Annotated[list[str], Field(min_length=1, max_length=PARTS, description="in their order in the file")]
    md5: str | None = Field(None, description="of the whole, in hex: it is compared")


class Upload(BaseModel):
    id: Id
    object: Object[Literal["upload"]] = "upload"
    bytes: int = Field(description="that were announced, of all parts together")
    created_at: UnixTime
    expires_at: int = Field(description="Unix time, s: until then parts are taken")
    filename: str = Field(description="as it was announced")
    purpose: Literal["fine-tune"] = Field("fine-tune", description="the only one there is")
    status: Literal["pending", "completed", "cancelled"] = Field(description="parts are taken while it is pending")
    file: File | None = Field(None, description="what was made of it; null before, and once it was deleted")


class UploadPart(BaseModel):
    id: Id
    object: Object[Literal["upload.part"]] = "upload.part"
    created_at: UnixTime
    upload_id: str = Field(description="that it is a part of")
