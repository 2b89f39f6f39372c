"""The API's schema, as generators of clients read it: what FastAPI makes of the routes, and what it cannot know."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.api.problems import MEDIA_TYPE, Problem
from services.contract.errors import HeadwayError

REF: Final = "#/components/schemas/"
BINARY: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
TEXTS: Final = {"text/csv": {"schema": {"type": "string"}}, "text/event-stream": {"schema": {"type": "string"}}}
ASKING: Final = frozenset({"/v1/predictions", "/v1/chat/completions", "/v1/responses"})  # which name a model
MADE_ONCE: Final = frozenset({("/v1/fine_tuning/jobs", "post"), ("/v1/webhooks", "post")})
IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a repeat with the same key and body gets the first answer, for a day",
    "schema": {"type": "string", "maxLength": 255},
}


def operation_id(route: APIRoute) -> str:
    """As clients call it: `files_report`."""
    tag = str(route.tags[0]) if route.tags else "service"
    return f"{tag}_{route.name}".replace("-", "_")


def install(app: FastAPI) -> None:
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(made())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    schemas = schema["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template=REF + "{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    titles = {error.status: error.title for error in reversed(_all_errors(HeadwayError))}  # the first of each
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation, titles)
    return schema


def _complete(path: str, method: str, operation: dict[str, Any], titles: dict[int, str]) -> None:
    if about := operation.get("description"):
        operation["summary"] = about.split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")
    responses = operation["responses"]
    responses.pop("422", None)
    for status in sorted(_statuses(path, method, operation)):
        responses[str(status)] = {
            "description": titles[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"{REF}Problem"}}},
        }
    if path.endswith("/content"):
        responses["200"]["content"] = BINARY
    for kind, text in TEXTS.items():
        if kind in responses["200"].get("content", {}):
            responses["200"]["content"][kind] = text
    if (path, method) in MADE_ONCE:
        operation.setdefault("parameters", []).append(IDEMPOTENCY)


def _statuses(path: str, method: str, operation: dict[str, Any]) -> set[int]:
    """That an operation can end with, beside its own."""
    if not path.startswith("/v1/"):
        return {503} if path == "/metrics" else set()
    found = {401, 403, 503}
    if operation.get("parameters") or "requestBody" in operation:
        found |= {422}
    if "{" in path or path in ASKING:
        found |= {404}
    if "requestBody" in operation:
        found |= {400, 408, 409, 413, 429, 507}
    if method in ("post", "delete") and "{" in path:
        found |= {409}
    if method in ("post", "delete") and path.startswith("/v1/webhooks/"):
        found |= {429, 502} if path.endswith("/test") else {429}
    return found


def _all_errors(kind: type[HeadwayError]) -> list[type[HeadwayError]]:
    return [kind, *(inner for sub in kind.__subclasses__() for inner in _all_errors(sub))]
