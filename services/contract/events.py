"""What a client hears of a job, in its list of events and in its live stream."""

from typing import Any, Literal

from pydantic import BaseModel

Level = Literal["info", "warn", "error"]


class NewEvent(BaseModel):
    """An event before Redis has given it its id."""

    created_at: int
    level: Level = "info"
    type: Literal["message", "metrics"] = "message"
    message: str
    data: dict[str, Any] = {}


class Event(NewEvent):
    """An event as clients see it: OpenAI's `fine_tuning.job.event`. `id` is its place in the job's Redis stream."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
