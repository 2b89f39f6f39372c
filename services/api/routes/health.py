"""Whether this process lives, and whether it can serve."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis.exceptions import ReadOnlyError, RedisError

from services import __version__
from services.api.deps import TheSettings, TheStore
from services.store.connection import refusal_to_use

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: Literal["ok"] = Field("ok", description="the process answers")
    version: str = Field(__version__, description="of Headway")


class Readiness(BaseModel):
    ready: bool = Field(description="it can serve")
    redis: str = Field(description='"ok", or why it cannot be used')
    durability: str = Field(description="what keeps jobs over a crash of Redis")
    workers: int = Field(0, description="that live; jobs wait where there are none")


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(response: Response, store: TheStore, settings: TheSettings) -> Readiness:
    """Redis answers and can be trusted with jobs. Workers are counted, not needed: jobs wait."""
    trusted = settings.redis_durable == "trusted"
    durability = "trusted (HEADWAY_REDIS_DURABLE)" if trusted else "append-only file"
    try:
        refusal = await refusal_to_use(store.redis, trusted=trusted)
        workers = len(await store.workers.all())
    except RedisError as error:
        refusal, workers = _why_away(error), 0
    if refusal is not None:
        response.status_code = 503
    return Readiness(ready=refusal is None, redis=refusal or "ok", durability=durability, workers=workers)


def _why_away(error: RedisError) -> str:
    return str(error) if isinstance(error, ReadOnlyError) else f"cannot be reached ({type(error).__name__})"
