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
from starlette.types import Receive, Scope

from services.api import auth
from services.contract.errors import InvalidRequest, RateLimited, RequestTimeout, TooLarge, Unauthorized
from services.contract.prediction import BODY_BYTES
from services.contract.quota import Quota
from services.contract.timing import Timing
from services.keysfile import Right
from services.store.store import Store

BODY_CAP = 1024**2  # bytes; ten thousand times a job's
IMAGES_AT_ONCE = 128 * 1024**2  # bytes of bodies with images that are held at a time: parsed, four times as many
READING = ("/stream_tokens", "/predictions", "/chat/completions", "/responses")  # which change nothing
Handle = Callable[[Request], Coroutine[Any, Any, Response]]


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
            return await self.pass_on(request, handle)

        return enter

    async def pass_on(self, request: Request, handle: Handle) -> Response:
        if not self.reads_body:
            return await handle(request)
        timing: Timing = request.app.state.settings.timing
        return await handle(BoundedRequest(request.scope, request.receive, BODY_CAP, timing.body))


class ImagesDoor(Door):
    """For a route whose body holds images. All that are under way together are bounded, too."""

    async def pass_on(self, request: Request, handle: Handle) -> Response:
        """Raises RateLimited."""
        state, held = request.app.state, 0

        def charge(more: int) -> None:
            nonlocal held
            if state.image_bytes + more > IMAGES_AT_ONCE:
                raise RateLimited("As many images are under way as may be.", retry_after=1)
            state.image_bytes, held = state.image_bytes + more, held + more

        try:
            timing: Timing = state.settings.timing
            return await handle(BoundedRequest(request.scope, request.receive, BODY_BYTES, timing.images, charge))
        finally:
            state.image_bytes -= held


class StreamedDoor(Door):
    """For a route that reads its body itself, as it streams, and bounds it."""

    reads_body = False


class BoundedRequest(Request):
    """Its body has `cap` bytes at most and comes within `seconds`; as JSON, each name stands in it once."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        cap: int,
        seconds: float,
        charge: Callable[[int], None] = lambda more: None,
    ) -> None:
        """`charge` is told of bytes as they come, and may raise."""
        super().__init__(scope, receive)
        self._cap, self._seconds, self._charge = cap, seconds, charge

    async def body(self) -> bytes:
        """Raises TooLarge, RequestTimeout."""
        if not hasattr(self, "_body"):
            try:
                async with asyncio.timeout(self._seconds):
                    self._body = await self._read()
            except TimeoutError:
                raise RequestTimeout(f"The body did not come within {self._seconds:g} s.") from None
        return self._body

    async def json(self) -> Any:
        """Raises InvalidRequest, JSONDecodeError."""
        if not hasattr(self, "_json"):
            body = await self.body()
            if len(body) > BODY_CAP:  # it would hold up all others for a while
                self._json = await asyncio.to_thread(_parsed, body)
            else:
                self._json = _parsed(body)
        return self._json

    async def _read(self) -> bytes:
        if int(self.headers.get("content-length") or 0) > self._cap:
            raise _too_large(self._cap)
        body = bytearray()
        async for chunk in self.stream():
            self._charge(len(chunk))
            body += chunk
            if len(body) > self._cap:
                raise _too_large(self._cap)
        return bytes(body)


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
    if request.method in ("GET", "HEAD") or request.url.path.endswith(READING):
        return Right.READ
    operates = request.url.path.endswith("/drain") or request.url.path.startswith("/v1/tenants/")
    return Right.OPERATE if operates else Right.SUBMIT


def _parsed(body: bytes) -> Any:
    return json.loads(body, object_pairs_hook=_each_name_once)


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidRequest(f"{name[:64]}: it stands twice", param=name[:64])
    return named


def _too_large(cap: int) -> TooLarge:
    return TooLarge(f"The body is larger than {cap} bytes.")
