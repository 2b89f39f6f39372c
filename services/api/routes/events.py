"""A job's events: as OpenAI's list, or as a live stream that survives disconnects; and those of all jobs as one."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from services.api.deps import After, Limit, OwnJob, Tenant, TheSettings, TheStore, TheStreams
from services.api.door import Door
from services.api.pages import Page, page
from services.api.sse import MEDIA_TYPE, EventStream, is_over, resume_point, stream, with_its_start
from services.contract.errors import InvalidRequest
from services.contract.events import Event
from services.contract.units import Object

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], route_class=Door)


feed = APIRouter(prefix="/v1/events", tags=["fine-tuning"], route_class=Door)
tokens = APIRouter(prefix="/v1/stream_tokens", tags=["fine-tuning"], route_class=Door)


@router.get(
    "/{job_id}/events",
    response_model=Page[Event],
    responses={200: {"content": {MEDIA_TYPE: {}}}, 204: {"description": "The stream has ended; do not come back."}},
)
async def events(
    record: OwnJob,
    request: Request,
    store: TheStore,
    streams: TheStreams,
    settings: TheSettings,
    after: After = None,
    limit: Limit = 20,
    live: Annotated[bool | None, Query(alias="stream")] = None,
    type: Annotated[Literal["message", "metrics"] | None, Query(description="only these; of the list")] = None,
    last_event_id: str | None = None,
    last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Any:
    """JSON, newest first; with `Accept: text/event-stream` or `?stream=true` server-sent events, oldest first, live.

    A stream goes on after `Last-Event-ID`. `event: gap`: something was trimmed; `event: done`: the job has ended.
    """
    wants_stream = MEDIA_TYPE in request.headers.get("accept", "") if live is None else live
    if not wants_stream:
        _check_after(after)
        found, more = await store.events.newest(record.id, after=after, limit=limit, type=type)
        return page(found, more)
    point = resume_point(last_event_id_header or last_event_id)
    if await is_over(store, record, point):
        return Response(status_code=204)
    source, closing = store.events.of_job(record.id), request.app.state.closing
    return EventStream(stream(source, point, streams, settings.timing, closing))


@feed.get("", response_class=StreamingResponse, responses={200: {"content": {MEDIA_TYPE: {}}}})
async def all_events(
    tenant: Tenant,
    request: Request,
    store: TheStore,
    streams: TheStreams,
    settings: TheSettings,
    last_event_id: str | None = None,
    last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """What happens to any of your jobs, live as server-sent events: each as in its job's stream, with the job's id.

    `event: start` has the id to come back with; then comes what happens next, or all after `Last-Event-ID`.
    `event: gap`: something was trimmed. It has no end.
    """
    source = store.feed(tenant)
    last = last_event_id_header or last_event_id
    point = resume_point(last) if last else await source.last()
    text = stream(source, point, streams, settings.timing, request.app.state.closing)
    return EventStream(with_its_start(point, text))


def _check_after(after: str | None) -> None:
    if after is not None:
        try:
            resume_point(after)
        except InvalidRequest as error:
            raise InvalidRequest(f"after: {error.message}", param="after") from None


class StreamToken(BaseModel):
    object: Object[Literal["stream_token"]] = "stream_token"
    token: str = Field(description="for the query's stream_token")
    expires_in: int = Field(description="s from now")


@tokens.post("")
async def stream_token(tenant: Tenant, store: TheStore, settings: TheSettings) -> StreamToken:
    """For a browser's `EventSource`, which sends no key: `…/events?stream=true&stream_token=…`, within a minute."""
    token = await store.stream_tokens.new(tenant)
    return StreamToken(token=token, expires_in=round(settings.timing.stream_token))
