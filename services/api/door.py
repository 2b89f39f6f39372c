"""The door of every route under /v1: the key first, then a body that is small and comes in time."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from services.api import auth
from services.contract.errors import InvalidRequest, RequestTimeout, TooLarge, Unauthorized
from services.contract.quota import Quota
from services.contract.timing import Timing
from services.keysfile import Right
from services.store.store import Store

BODY_CAP = 1024**2  # bytes; ten thousand times a job's


class Door(APIRoute):
    """FastAPI reads a body before it looks at anything else; this comes before that."""

    reads_body: ClassVar[bool] = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def enter(request: Request) -> Response:
            try:
                request.state.caller = caller = await _caller(request)
            except Unauthorized:
                if self.reads_body:
                    await _pass_over(request)
                raise
            caller.demand(_right_of(request))
            return await handle(SmallRequest(request.scope, request.receive) if self.reads_body else request)

        return enter


class StreamedDoor(Door):
    """For a route that reads its body itself, as it streams, and bounds it."""

    reads_body = False


class SmallRequest(Request):
    """Its body is bounded, and is JSON in which each name stands once."""

    async def body(self) -> bytes:
        """Raises TooLarge, RequestTimeout."""
        if not hasattr(self, "_body"):
            timing: Timing = self.app.state.settings.timing
            try:
                async with asyncio.timeout(timing.body):
                    self._body = await self._read()
            except TimeoutError:
                raise RequestTimeout(f"The body did not come within {timing.body:g} s.") from None
        return self._body

    async def json(self) -> Any:
        """Raises InvalidRequest, JSONDecodeError."""
        if not hasattr(self, "_json"):
            self._json = json.loads(await self.body(), object_pairs_hook=_each_name_once)
        return self._json

    async def _read(self) -> bytes:
        if int(self.headers.get("content-length") or 0) > BODY_CAP:
            raise _too_large()
        body = b""
        async for chunk in self.stream():
            body += chunk
            if len(body) > BODY_CAP:
                raise _too_large()
        return body


async def _pass_over(request: Request) -> None:
    """A small body ends before our answer, as clients like it; of a large one they see the answer while they send."""
    size, timing = 0, request.app.state.settings.timing
    with suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(timing.pace):
            async for chunk in request.stream():
                if (size := size + len(chunk)) > BODY_CAP:
                    return


async def _caller(request: Request) -> auth.Caller:
    """Raises Unauthorized."""
    keys: auth.Keys | None = request.app.state.keys
    default: Quota = request.app.state.settings.quota
    if keys is None:
        return auth.Caller(auth.LOCAL_TENANT, frozenset(Right), default)
    token = request.query_params.get("stream_token")
    if token and request.method == "GET" and request.url.path.endswith("/events"):
        store: Store = request.app.state.store
        tenant = await store.stream_tokens.tenant_of(token)
        if tenant is None:
            raise Unauthorized("The stream token is over, or was never given: get another.")
        return auth.Caller(tenant, frozenset({Right.READ}), default)
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return auth.caller_of(keys, key.strip() if scheme.lower() == "bearer" else None, default)


def _right_of(request: Request) -> Right:
    """Which a request needs."""
    if request.method in ("GET", "HEAD") or request.url.path.endswith("/stream_tokens"):
        return Right.READ
    operates = request.url.path.endswith("/drain") or request.url.path.startswith("/v1/tenants/")
    return Right.OPERATE if operates else Right.SUBMIT


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidRequest(f"{name[:64]}: it stands twice", param=name[:64])
    return named


def _too_large() -> TooLarge:
    return TooLarge(f"The body is larger than {BODY_CAP} bytes.")
