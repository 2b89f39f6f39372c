"""A form with a file, parsed as it streams: the file goes straight to its draft, hashed and counted on the way."""

import asyncio
import difflib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from services.api.drafts import writing
from services.contract.errors import BadRequest, InvalidRequest, TooLarge
from services.contract.layout import Layout
from services.contract.wording import in_words

FIELD_CAP = 64 * 1024  # bytes of a form field that is no file
FIELDS = ("file", "purpose", "layout", "expires_after[anchor]", "expires_after[seconds]")
EXPIRES = 'expires_after: send anchor "created_at" and between 3600 and 2592000 seconds'
SETTING = " (HEADWAY_MAX_UPLOAD_BYTES)"
FORM_SLACK = 64 * 1024  # bytes that a form may have around its file


@dataclass
class Form:
    """What came: the file's bytes lie in `draft`."""

    draft: str
    filename: str | None = None
    bytes: int = 0
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    fields: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    @property
    def layout(self) -> Layout:
        """As it was stated, or none. Raises InvalidRequest."""
        try:
            return Layout.model_validate_json(self.fields.get("layout") or "{}")
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(["layout", *map(str, problem["loc"])])
            raise InvalidRequest(f"{where}: {in_words(problem)}", param=where) from None

    @property
    def expires_at(self) -> int | None:
        """As `expires_after` says, in seconds from now. Raises InvalidRequest."""
        anchor, seconds = (self.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
        if anchor is None and seconds is None:
            return None
        if anchor != "created_at" or not re.fullmatch(r"[0-9]{4,7}", seconds or ""):
            raise InvalidRequest(EXPIRES, param="expires_after")
        if not 3600 <= int(seconds or 0) <= 2_592_000:
            raise InvalidRequest(EXPIRES, param="expires_after")
        return int(time.time()) + int(seconds or 0)


def form_of(properties: Mapping[str, Any], *, required: list[str]) -> dict[str, Any]:
    """A route's form, for the API's schema: it is parsed as it streams, which FastAPI does not see."""
    schema = {"type": "object", "required": required, "properties": dict(properties)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def parse(request: Request, draft: str, cap: int, *, named: str = "file") -> Form:
    """`named`: the part whose bytes go to `draft`. Raises BadRequest, InvalidRequest, TooLarge."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadRequest("Send the file as multipart/form-data, with its fields.")
    form = Form(draft)
    async with writing(draft) as file:
        parts, received = _Parts(form, file, cap, named), 0
        try:
            parser = MultipartParser(options[b"boundary"], parts.callbacks())  # type: ignore[arg-type]
            async for chunk in _body(request):
                received += len(chunk)
                await asyncio.to_thread(parser.write, chunk)  # it writes to the draft
                if received - form.bytes > FORM_SLACK + len(chunk):
                    raise TooLarge("The form has too much beside its file.", param="file")
        except FormParserError as error:
            raise BadRequest(f"The multipart body cannot be parsed: {error}.") from None
    return form


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise BadRequest("The upload was cut off.") from None


class _Parts:
    """The parser's callbacks: the named part goes to the draft, others are kept as text."""

    def __init__(self, form: Form, file: BinaryIO, cap: int, named: str) -> None:
        self._form, self._file, self._cap, self._named = form, file, cap, named
        self._header, self._value = b"", b""
        self._name, self._text = "", b""

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._done,
        }

    def _begin(self) -> None:
        self._name, self._text = "", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if self._name == self._named:
                if self._form.filename is not None:
                    raise InvalidRequest(f"{self._named}: once in a form", param=self._named)
                self._form.filename = (
                    Path(options.get(b"filename", b"upload").decode("utf-8", "replace")).name or "upload"
                )
        self._header, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._named:
            self._file_data(data[start:end])
        else:
            self._text += data[start:end]
            if len(self._text) > FIELD_CAP:
                refuse_unknown(self._name)
                raise InvalidRequest(f"{self._name}: at most {FIELD_CAP} bytes", param=self._name)

    def _file_data(self, data: bytes) -> None:
        self._form.bytes += len(data)
        if self._form.bytes > self._cap:
            raise too_large(self._cap, self._named)
        self._form.sha256.update(data)
        self._file.write(data)

    def _end(self) -> None:
        if self._name and self._name != self._named:
            self._form.fields[self._name] = self._text.decode("utf-8", "replace")

    def _done(self) -> None:
        self._form.ended = True


def refuse_unknown(name: str) -> None:
    if name not in FIELDS:
        close = next(iter(difflib.get_close_matches(name, FIELDS, 1)), "file")
        raise InvalidRequest(f"{name[:64]}: unknown field of the form: did you mean {close}?", param=name[:64])


def too_large(cap: int, param: str = "file") -> TooLarge:
    return TooLarge(f"{param}: larger than {cap} bytes{SETTING if param == 'file' else ''}.", param=param)
