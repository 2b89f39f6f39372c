"""Methods of HTTP: those that nobody has heard of are refused at once, and HEAD is taken wherever GET is."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import problems
from services.contract.errors import MethodNotAllowed

KNOWN = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class KnownMethods:
    """ASGI middleware: what measures and traces requests would keep each word that a stranger sends as one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in KNOWN:
            await self._app(scope, receive, send)
            return
        refused = problems.problem(MethodNotAllowed("That is no method of HTTP."), {"Allow": ", ".join(sorted(KNOWN))})
        await refused(scope, receive, send)


class HeadAsGet:
    """ASGI middleware: the same answer, without its body. A stream is let go as soon as its headers are known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        is_answered = False

        async def only_headers(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                is_answered = True

        async def until_answered() -> Message:
            return {"type": "http.disconnect"} if is_answered else await receive()

        await self._app({**scope, "method": "GET"}, until_answered, only_headers)
