"""A stream of events as server-sent events: resumable by id, honest about gaps; a job's ends with `done`."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import zip_longest

from fastapi.responses import StreamingResponse
from redis.exceptions import RedisError
from starlette.types import Send

from services.api.streams import Gap, News, Source, Streams
from services.contract.errors import InvalidRequest
from services.contract.timing import Timing
from services.contract.transitions import ENDED
from services.store.connection import is_away
from services.store.events import StreamEntry, order
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
    """Whether a client that has seen `after` has seen the end, or all that is left of it."""
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
    source: Source, after: str, streams: Streams, timing: Timing, closing: asyncio.Event
) -> AsyncGenerator[str, None]:
    """The text of the stream, from the event after `after` on."""
    yield f"retry: {round(1000 * timing.stream_retry)}\n"  # no blank line: some clients would take it for an event
    try:
        async with aclosing(streams.listen(source, after, closing, heartbeat=timing.stream_heartbeat)) as entries:
            async for news in entries:
                yield "".join(_texts(news)) or ": still here\n"
                if news and isinstance(news[-1], StreamEntry) and news[-1].final:
                    yield 'event: done\ndata: {"object": "fine_tuning.job.done"}\n\n'
                    return
                if closing.is_set():
                    return
    except RedisError as error:
        if not is_away(error):
            raise
        # Else the client comes back by itself, with its last id.


async def with_its_start(after: str, text: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """A feed begins in the middle: the first event's id is where to come back, should nothing have happened yet."""
    yield f'id: {after}\nevent: start\ndata: {{"object": "events.start"}}\n\n'
    async with aclosing(text):
        async for piece in text:
            yield piece


def _texts(news: list[News]) -> Iterator[str]:
    """One gap for entries of a feed that are gone in a row: a client looks again after each."""
    for entry, after in zip_longest(news, news[1:]):
        if not (_is_gone(entry) and after is not None and _is_gone(after)):
            yield _text(entry)


def _is_gone(entry: News) -> bool:
    return not isinstance(entry, Gap) and entry.data is None


def _text(entry: News) -> str:
    if isinstance(entry, Gap):
        return f"event: gap\ndata: {json.dumps({'trimmed_to': entry.trimmed_to})}\n\n"
    if entry.data is None:  # a feed's, whose job trimmed or moved it since
        return f"id: {entry.id}\nevent: gap\ndata: {json.dumps({'trimmed_to': entry.id})}\n\n"
    return f"id: {entry.id}\ndata: {entry.data}\n\n"
