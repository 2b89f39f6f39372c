"""Errors on the wire: problem+json (RFC 9457) that also carries the `error` object of OpenAI's clients."""

import logging
import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from services.contract import errors
from services.contract.errors import HeadwayError, RateLimited
from services.contract.timing import Timing
from services.contract.wording import in_words, names_of
from services.store.connection import as_problem

log = logging.getLogger(__name__)

RETRY_AFTER = str(round(Timing().retry_after))
MEDIA_TYPE = "application/problem+json"
BRANCH = re.compile(r"^(constrained-\w+|(literal|nullable|list|dict|function-\w+)\[.*\]|int|float|str)$")  # of a union


class ProblemError(BaseModel):
    """As OpenAI's clients read it."""

    message: str = Field(description="the same as detail")
    type: str = Field(description="OpenAI's kind of error: invalid_request_error, rate_limit_error, …")
    param: str | None = Field(description="the field that is wrong, by its path in the body")
    code: str = Field(description="the problem's")


class WrongField(BaseModel):
    param: str = Field(description="its path in the body")
    message: str = Field(description="what is wrong with it")


class Problem(BaseModel):
    """What every refusal looks like: RFC 9457, with OpenAI's `error`."""

    type: str = Field(description="urn:headway:error: and the code")
    title: str = Field(description="the code in words")
    status: int = Field(description="HTTP's")
    detail: str = Field(description="a sentence: what is wrong, and what to do")
    code: str = Field(description="its kind, for programs")
    error: ProblemError = Field(description="OpenAI's form of it")
    errors: list[WrongField] | None = Field(None, description="of a body: each field that is wrong")
    current_status: str | None = Field(None, description="of a job that could not be asked that")
    allowed_actions: list[str] | None = Field(None, description="what it may be asked")
    job: str | None = Field(None, description="that needs the file")


def install(app: FastAPI) -> None:
    app.add_exception_handler(HeadwayError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RedisError, _answer_store)
    app.add_exception_handler(OSError, _answer_os)
    app.add_exception_handler(Exception, _answer_unknown)


def problem(error: HeadwayError, more_headers: Mapping[str, str] | None = None) -> JSONResponse:
    message, param = _printable(error.message), error.param and _printable(error.param)
    body: dict[str, Any] = {
        "type": f"urn:headway:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": message,
        "code": error.code,
        "error": {"message": message, "type": error.type, "param": param, "code": error.code},
    }
    # The openai package retries 409 and 5xx by itself unless told otherwise.
    headers = {"x-should-retry": "true" if error.retry else "false", **(more_headers or {})}
    if error.retry or error.status == 429:
        headers["Retry-After"] = str(ceil(error.retry_after)) if isinstance(error, RateLimited) else RETRY_AFTER
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body | error.extra, error.status, headers, media_type=MEDIA_TYPE)


def _printable(text: str) -> str:
    """Half a surrogate pair, which JSON may name, is no text."""
    return text.encode("utf-8", "backslashreplace").decode()


async def _answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HeadwayError)
    return problem(error)


async def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    """The first field that is wrong, by name; all of them in `errors`."""
    assert isinstance(error, RequestValidationError)
    body = getattr(request.scope.get("route"), "body_field", None)
    known = names_of(body.field_info.annotation) if body else ()
    found = [
        {"param": e.get("ctx", {}).get("param") or _param(e["loc"]), "message": in_words(e, known)}
        for e in error.errors()
    ]
    if error.errors()[0]["type"] == "json_invalid":
        return problem(errors.BadRequest(f"The body is no JSON: {error.errors()[0]['ctx']['error']}."))
    if error.errors()[0]["loc"] == ("body",) and error.errors()[0]["type"] != "conflict":
        return problem(errors.InvalidRequest("Send a JSON object, with the header Content-Type: application/json."))
    first = found[_most_telling(error.errors())]
    message = f"{first['param']}: {first['message']}" if first["param"] else first["message"]
    return problem(errors.InvalidRequest(message, param=first["param"] or None, errors=found))


def _most_telling(found: Sequence[Any]) -> int:
    """Of the first wrong field, the deepest: where a value may be of two kinds, the kind that it comes closer to."""
    fields = [_param(e["loc"]).split(".")[0] for e in found]
    return max((i for i, name in enumerate(fields) if name == fields[0]), key=lambda i: len(found[i]["loc"]))


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, HeadwayError):  # FastAPI's own, of what we said of a body
        return problem(error.__cause__)
    if error.status_code == 404:
        return problem(
            errors.NotFound(f"There is no {request.method} {request.url.path} here; /docs lists what there is.")
        )
    if error.status_code == 405:
        return problem(errors.MethodNotAllowed(f"{request.url.path} does not take {request.method}."), error.headers)
    if "parsing the body" in str(error.detail):
        return problem(
            errors.BadRequest("The body is no JSON that can be read: UTF-8, numbers of a sane length, few levels.")
        )
    return problem(errors.BadRequest(str(error.detail)))


async def _answer_store(request: Request, error: Exception) -> JSONResponse:
    known = as_problem(error)
    return problem(known) if known else await _answer_unknown(request, error)


async def _answer_os(request: Request, error: Exception) -> JSONResponse:
    """A full or read-only disk is the operator's to mend; anything else is a bug."""
    assert isinstance(error, OSError)
    if isinstance(error, errors.FilesAway):
        log.error("the store of objects is away: %s", error)
        return problem(errors.StoreUnavailable(errors.STORE_AWAY))
    if error.errno in errors.UNWRITABLE:
        log.error("the file store cannot be written: %s", error)
        return problem(errors.StoreFull(f"The file store cannot be written: {error.strerror}."))
    return await _answer_unknown(request, error)


async def _answer_unknown(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem(HeadwayError("Something went wrong here; the service's log has the details."))


def _param(location: Sequence[str | int]) -> str:
    """`body.method.supervised` → `method.supervised`; union branches and validators' names are left out."""
    name, *inner = [str(part) for part in location if part not in ("body", "query", "path", "header")] or [""]
    return ".".join([name, *(part for part in inner if not BRANCH.match(part))])
