"""The path under which a proxy serves us, whether it takes it off or passes it on."""

from starlette.types import ASGIApp, Receive, Scope, Send


class UnderPath:
    """ASGI middleware: to what follows, a path always begins with `prefix`, as ASGI wants it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path != self._prefix and not path.startswith(f"{self._prefix}/"):
                path = self._prefix + path
            scope = {**scope, "root_path": self._prefix, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)
