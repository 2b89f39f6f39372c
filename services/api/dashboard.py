"""Serves the dashboard: its page at `/`, what the page needs under `/dashboard`. All of it is read and packed once."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from typing import Final

from fastapi import FastAPI, Request, Response

from services.dashboard import FOLDER

TYPES: Final = frozenset({".html", ".js", ".css", ".svg"})
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",  # asked again each time, and answered by 304
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True)
class Asset:
    type: str
    plain: bytes
    packed: bytes
    etag: str

    def answer(self, request: Request) -> Response:
        headers = HEADERS | {"ETag": self.etag}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, media_type=self.type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(self.plain, media_type=self.type, headers=headers)


@cache
def assets() -> dict[str, Asset]:
    """By their paths in the folder."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES:
            plain = path.read_bytes()
            type = mimetypes.guess_type(path.name)[0] or "text/plain"
            etag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
            found[path.relative_to(FOLDER).as_posix()] = Asset(type, plain, gzip.compress(plain, mtime=0), etag)
    return found


def install(app: FastAPI) -> None:
    def page(request: Request) -> Response:
        return assets()["index.html"].answer(request)

    def asset(path: str, request: Request) -> Response:
        found = assets().get(path)
        return found.answer(request) if found else Response(status_code=404)

    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/dashboard/{path:path}", asset, include_in_schema=False)
