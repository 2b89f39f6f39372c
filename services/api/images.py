"""Images as they come in JSON: data URLs, and nothing that would have to be fetched."""

import base64
import binascii
import re
from typing import Final

from services.contract.errors import BadRequest
from services.contract.prediction import IMAGE_BYTES

DATA_URL: Final = re.compile(r"data:[\w.+-]*/?[\w.+-]*(;[\w.+-]+=[\w.+-]+)*;base64,")


def from_data_url(url: str, param: str) -> bytes:
    """Raises BadRequest, which names `param`."""
    found = DATA_URL.match(url)
    if found is None:
        said = "addresses are never fetched" if "://" in url[:32] else "no image"
        raise BadRequest(f"{param}: {said}: send it as data:image/jpeg;base64,…", param=param)
    try:
        content = base64.b64decode("".join(url[found.end() :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{param}: its base64 cannot be read", param=param) from None
    return checked(content, param)


def checked(content: bytes, param: str) -> bytes:
    """Raises BadRequest where there is none, or too much of it."""
    if not content:
        raise BadRequest(f"{param}: it is empty", param=param)
    if len(content) > IMAGE_BYTES:
        raise BadRequest(f"{param}: an image has {IMAGE_BYTES} bytes at most, this one {len(content)}", param=param)
    return content
