"""The app: what it holds while it lives, its routes, its guard."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline

from services import __version__, tracing
from services.api import auth, dashboard, problems, schema
from services.api.latency import measure
from services.api.listers import Listers
from services.api.methods import HeadAsGet, KnownMethods
from services.api.predictors import Predictors
from services.api.prefix import UnderPath
from services.api.routes import (
    chat,
    events,
    files,
    fleet,
    health,
    jobs,
    metrics,
    models,
    predictions,
    uploads,
    webhooks,
)
from services.api.streams import Streams
from services.api.thumbnails import Thumbnails
from services.contract.errors import HeadwayError
from services.process.ending import end
from services.settings import Settings, settings
from services.store.store import open_store
from services.webhooks.outside import Outside, Reach

THREADS = 64  # that wait for disks and buckets: one that hangs must not hold up the others


def create_app(config: Settings | None = None) -> FastAPI:
    config = config or settings()
    app: FastAPI = FastAPIOffline(
        title="Headway",
        version=__version__,
        summary="Fine-tune an image classifier on your own machine.",
        lifespan=_lifespan,
        generate_unique_id_function=schema.operation_id,
        separate_input_output_schemas=False,  # one name a schema, for generators
        redirect_slashes=False,  # it would go by the Host that a stranger names
        # FastAPI's own spans would hold tokens of streams: `tracing.watch` has those that we send.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.settings = config
    app.state.keys = auth.Keys(config.api_keys_file) if config.api_keys_file else None
    app.state.closing = asyncio.Event()
    app.state.uploads_under_way = Counter()  # by tenant
    app.state.image_bytes = 0  # of requests under way
    _include_routes(app)
    dashboard.install(app)
    problems.install(app)
    schema.install(app)
    if app.state.keys is None and config.host_names is not None:
        app.middleware("http")(_guard)
    measure(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(KnownMethods)
    if config.root_path:
        app.add_middleware(UnderPath, prefix=config.root_path)
    if config.origins:
        every = ["*"]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.origins,
            allow_methods=every,
            allow_headers=every,
            expose_headers=every,
        )
    tracing.watch(app)
    return app


def _include_routes(app: FastAPI) -> None:
    for router in (files.uploads, uploads.parts, events.tokens, events.feed, webhooks.types):
        app.include_router(router)
    for routes in (files, uploads, jobs, events, models, predictions, chat, fleet, health, metrics):
        app.include_router(routes.router)
    for path in webhooks.PATHS:
        app.include_router(webhooks.router, prefix=path, include_in_schema=path == webhooks.PATHS[0])


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    config: Settings = app.state.settings
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    async with open_store(config, connections=1) as store:  # a command takes it for less than a millisecond
        streams = Streams(store, config.store_url, config.timing)
        reading = asyncio.create_task(streams.run())
        app.state.store, app.state.streams = store, streams
        app.state.predictors = Predictors(config.predictors, config.timing)
        app.state.outside = Outside(Reach.of(config.webhook_networks), config.timing)
        with (
            contextlib.closing(Listers(config.timing)) as app.state.listers,
            contextlib.closing(Thumbnails(config.timing)) as app.state.thumbnails,
        ):
            yield
        app.state.closing.set()
        await end(reading)
        await streams.aclose()
        await app.state.predictors.aclose()
        await app.state.outside.aclose()
    await asyncio.to_thread(tracing.stop, config.timing.traces_sent)


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        config: Settings = request.app.state.settings
        auth.refuse_foreign_pages(request.headers, config.host_names or (), config.origins)
    except HeadwayError as error:
        return problems.problem(error)
    return await call_next(request)
