"""Files of the store of bytes as downloads: in parts, and not again where the client has them."""

from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from services.api.problems import problem
from services.contract.errors import BadRequest


class Download(FileResponse):
    def __init__(self, path: Path, filename: str) -> None:
        super().__init__(path, filename=filename, media_type="application/octet-stream", stat_result=path.stat())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = [tag.strip().removeprefix("W/") for tag in Headers(scope=scope).get("if-none-match", "").split(",")]
        if self.headers["etag"] in known or known == ["*"]:
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
