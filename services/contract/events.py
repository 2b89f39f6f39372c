"""What a client hears of a job, in its list of events and in its live stream."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from services.contract.units import Object, UnixTime

Level = Literal["info", "warn", "error"]


class NewEvent(BaseModel):
    """An event before Redis has given it its id."""

    created_at: UnixTime
    level: Level = Field("info", description="how serious it is")
    type: Literal["message", "metrics"] = Field(
        "message", description='"metrics": how far the job is, in numbers; "message": all else'
    )
    message: str = Field(description="a sentence")
    data: dict[str, Any] = Field(
        {}, description="the same in fields; of metrics, the progress and what is new of each series"
    )


class Event(NewEvent):
    """An event as clients see it: OpenAI's `fine_tuning.job.event`."""

    id: str = Field(description="its place in the job's stream, for after and Last-Event-ID")
    object: Object[Literal["fine_tuning.job.event"]] = "fine_tuning.job.event"
