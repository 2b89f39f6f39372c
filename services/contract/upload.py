"""An upload that comes in parts, as OpenAI has it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.contract.file import File
from services.contract.layout import GUESSED, Layout

PART_BYTES = 64 * 1024**2  # of one part
PARTS = 1000


class ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class NewUpload(BaseModel):
    """What will come."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    bytes: Annotated[int, Field(gt=0, description="of all parts together")]
    purpose: Literal["fine-tune"]
    mime_type: Annotated[str, StringConstraints(max_length=255)] = ""
    expires_after: ExpiresAfter | None = None
    layout: Layout = GUESSED


class CompletedParts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    part_ids: Annotated[list[str], Field(min_length=1, max_length=PARTS, description="in their order in the file")]
    md5: str | None = Field(None, description="of the whole, in hex: it is compared")


class Upload(BaseModel):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int = Field(description="until then parts are taken")
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["pending", "completed", "cancelled"]
    file: File | None = None


class UploadPart(BaseModel):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
