"""What a tenant may have and do; the same for all but where the keys file says otherwise."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


class Quota(BaseModel):
    """0 is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stored_bytes: Count = Field(0, description="of uploads, together")
    queued_jobs: Count = Field(10_000, description="that wait at a time")
    running_jobs: Count = Field(0, description="that workers own at a time")
    checkpoint_bytes: Count = Field(20 * 1024**3, description="of all jobs' checkpoints; one beyond is not kept")
    uploads_at_once: Count = Field(16, description="under way")
    submissions_per_minute: Count = 1_200
    uploads_per_minute: Count = 600
    max_priority: Annotated[int, Field(ge=0, le=9)] = 9
    weight: Annotated[float, Field(gt=0, le=1_000)] = Field(1.0, description="of its turns, beside the other tenants'")


UNLIMITED: Final = Quota(
    queued_jobs=0, checkpoint_bytes=0, uploads_at_once=0, submissions_per_minute=0, uploads_per_minute=0
)
