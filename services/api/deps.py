"""What routes are given, as words: `job: OwnJob`, `store: TheStore`, `tenant: Tenant`."""

from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.api import auth
from services.api.listers import Listers
from services.api.named import NamedModel, named_model
from services.api.predictors import Predictors
from services.api.streams import Streams
from services.api.thumbnails import Thumbnails
from services.contract.errors import NotFound
from services.settings import Settings
from services.store.files import FileRecord
from services.store.record import JobRecord
from services.store.store import Store
from services.webhooks.outside import Outside


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


def _listers(request: Request) -> Listers:
    listers: Listers = request.app.state.listers
    return listers


def _predictors(request: Request) -> Predictors:
    predictors: Predictors = request.app.state.predictors
    return predictors


def _thumbnails(request: Request) -> Thumbnails:
    thumbnails: Thumbnails = request.app.state.thumbnails
    return thumbnails


def _outside(request: Request) -> Outside:
    outside: Outside = request.app.state.outside
    return outside


TheListers = Annotated[Listers, Depends(_listers)]
TheThumbnails = Annotated[Thumbnails, Depends(_thumbnails)]
TheStore = Annotated[Store, Depends(_store)]
TheSettings = Annotated[Settings, Depends(_settings)]
ThePredictors = Annotated[Predictors, Depends(_predictors)]
TheStreams = Annotated[Streams, Depends(_streams)]
TheOutside = Annotated[Outside, Depends(_outside)]


Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(HTTPBearer(auto_error=False, description="Needed where HEADWAY_API_KEYS_FILE is set.")),
]


def _caller(request: Request, bearer: Bearer) -> auth.Caller:
    """As `door` found it; the header stands here for the API's schema."""
    caller: auth.Caller = request.state.caller
    return caller


TheCaller = Annotated[auth.Caller, Depends(_caller)]


def _tenant(caller: TheCaller) -> str:
    return caller.tenant


Tenant = Annotated[str, Depends(_tenant)]


def _watching(request: Request) -> bool:
    return request.headers.get("headway-watching") == "true"


# Whether a page looks by itself, for a person who submitted nothing: a job is not known to its submitter by that.
Watching = Annotated[bool, Depends(_watching)]


async def _own_job(job_id: str, tenant: Tenant, store: TheStore, watching: Watching) -> JobRecord:
    record = await store.jobs.owned_by(tenant, job_id)
    if record is None:
        raise NotFound(f"There is no job {job_id}.", param="fine_tuning_job_id")
    if not watching:
        await store.submissions.are_read([job_id])
    return record


async def _own_file(file_id: str, tenant: Tenant, store: TheStore) -> FileRecord:
    record = await store.files.owned_by(tenant, file_id)
    if record is None:
        raise NotFound(f"There is no file {file_id}.", param="file_id")
    return record


async def _own_model(model_id: str, tenant: Tenant, store: TheStore) -> NamedModel:
    model = await named_model(model_id, tenant, store)
    if model is None:
        raise NotFound(f"There is no model {model_id}.", param="model_id")
    return model


OwnModel = Annotated[NamedModel, Depends(_own_model)]
OwnJob = Annotated[JobRecord, Depends(_own_job)]
OwnFile = Annotated[FileRecord, Depends(_own_file)]
After = Annotated[str | None, Query(description="the id of the last item of the page before")]
Limit = Annotated[int, Query(ge=1, le=10_000, description="of a page at most; it may be shorter: see has_more")]
Order = Annotated[Literal["asc", "desc"], Query(description="by age: newest first, unless asc")]
