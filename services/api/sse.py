"""A job's events as server-sent events: resumable by id, honest about gaps, ended with `done`."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from redis.exceptions import RedisError
from starlette.types import Send

from services.api.streams import Gap, Streams, order
from services.contract.errors import InvalidRequest
from services.contract.timing import Timing
from services.contract.transitions import ENDED
from services.process.ending import end
from services.store.connection import is_away
from services.store.events import StreamEntry
from services.store.record import JobRecord
from services.store.store import Store

MEDIA_TYPE = "text/event-stream"
STREAM_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")


def resume_point(last_event_id: str | None) -> str:
    """Where to go on. Raises InvalidRequest for what is no stream id."""
    if last_event_id is None:
        return "0-0"
    if not STREAM_ID.fullmatch(last_event_id):
        raise InvalidRequest("not an event id; they look like 1764032901123-0", param="last_event_id")
    return last_event_id


async def is_over(store: Store, record: JobRecord, after: str) -> bool:
    """Whether a client that has seen `after` has seen the end."""
    if record.status not in ENDED:
        return False
    last = await store.events.last(record.id)
    return last is None or order(after) >= order(last.id)


class EventStream(StreamingResponse):
    """Ends its stream as soon as the client is found to be gone; left to itself, that waits for the garbage
    collector, and the reader of Redis reads on for nobody."""

    def __init__(self, text: AsyncGenerator[str, None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(text, media_type=MEDIA_TYPE, headers=headers)
        self._text = text

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._text):
            await super().stream_response(send)


async def stream(
    record: JobRecord, after: str, streams: Streams, timing: Timing, closing: asyncio.Event
) -> AsyncGenerator[str, None]:
    """The text of the stream, from the event after `after` on."""
    yield f"retry: {round(1000 * timing.stream_retry)}\n"  # no blank line: some clients would take it for an event
    try:
        async with aclosing(
            _until(closing, streams.listen(record.id, after, heartbeat=timing.stream_heartbeat))
        ) as entries:
            async for entry in entries:
                yield _text(entry)
                if isinstance(entry, StreamEntry) and entry.final:
                    yield 'event: done\ndata: {"object": "fine_tuning.job.done"}\n\n'
                    return
    except RedisError as error:
        if not is_away(error):
            raise
        # Else the client comes back by itself, with its last id.


async def _until(
    closing: asyncio.Event, entries: AsyncGenerator[StreamEntry | Gap | None, None]
) -> AsyncGenerator[StreamEntry | Gap | None, None]:
    """The entries, until the service closes."""
    ending: asyncio.Future[Any] = asyncio.ensure_future(closing.wait())
    coming: asyncio.Future[Any] = asyncio.ensure_future(anext(entries))
    try:
        while not closing.is_set():
            await asyncio.wait((coming, ending), return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                yield coming.result()
                coming = asyncio.ensure_future(anext(entries))
    finally:
        await end(ending, coming)
        await entries.aclose()


def _text(entry: StreamEntry | Gap | None) -> str:
    match entry:
        case None:
            return ": still here\n"
        case Gap():
            return f"event: gap\ndata: {json.dumps({'trimmed_to': entry.trimmed_to})}\n\n"
        case StreamEntry():
            return f"id: {entry.id}\ndata: {entry.event.model_dump_json()}\n\n"
