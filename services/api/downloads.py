"""Files of the store of bytes as downloads: in parts, and not again where the client has them."""

import asyncio
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from services import objects
from services.api.problems import problem
from services.contract.errors import BadRequest
from services.located import is_remote

MEDIA = "application/octet-stream"
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def download(where: str, filename: str, request: Request) -> Response:
    """Raises FileNotFoundError."""
    if not is_remote(where):
        return LocalDownload(Path(where), filename)
    found = await asyncio.to_thread(objects.stat, where)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(filename)}",
        "ETag": f'"{found.tag}"',
        "Last-Modified": formatdate(found.modified, usegmt=True),
    }
    if _is_known(f'"{found.tag}"', request.headers):
        return Response(status_code=304, headers={name: headers[name] for name in ("ETag", "Last-Modified")})
    start, stop = _asked(request.headers, found, headers)
    if start >= stop > 0 or start > stop:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{found.bytes}"})
    headers["Content-Length"] = str(stop - start)
    is_part = (start, stop) != (0, found.bytes)
    if is_part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.bytes}"
    return StreamingResponse(
        _pieces(where, start, stop), status_code=206 if is_part else 200, headers=headers, media_type=MEDIA
    )


def _asked(given: Headers, found: objects.ObjectStat, headers: dict[str, str]) -> tuple[int, int]:
    """From where to where. Several ranges, or one of bytes that have changed, are all of it. Raises BadRequest."""
    said = given.get("range")
    if said is None or "," in said or given.get("if-range", headers["ETag"]) not in headers.values():
        return 0, found.bytes
    asked = RANGE.fullmatch(said)
    if asked is None or asked[0] == "bytes=-":
        raise BadRequest("Range: send bytes=FIRST-LAST.")
    if not asked[1]:
        return max(0, found.bytes - int(asked[2])), found.bytes
    return int(asked[1]), min(found.bytes, int(asked[2]) + 1) if asked[2] else found.bytes


async def _pieces(where: str, start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        piece = await asyncio.to_thread(objects.read_range, where, start, min(objects.PIECE, stop - start))
        start += len(piece)
        yield piece


def _is_known(tag: str, given: Headers) -> bool:
    known = [each.strip().removeprefix("W/") for each in given.get("if-none-match", "").split(",")]
    return tag in known or known == ["*"]


class LocalDownload(FileResponse):
    def __init__(self, path: Path, filename: str) -> None:
        super().__init__(path, filename=filename, media_type=MEDIA, stat_result=path.stat())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_known(self.headers["etag"], Headers(scope=scope)):
            headers = {name: self.headers[name] for name in ("etag", "last-modified")}
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        refused = False

        async def send_unless_refused(message: Message) -> None:
            """What Starlette says of a Range that cannot be is no problem of our form."""
            nonlocal refused
            refused = refused or (message["type"] == "http.response.start" and message["status"] == 400)
            if not refused:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused:
            await problem(BadRequest("Range: send bytes=FIRST-LAST."))(scope, receive, send)
