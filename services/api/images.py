"""Images as they come in JSON: data URLs, and nothing that would have to be fetched."""

import base64
import binascii
from typing import Final

from services.contract.errors import BadRequest
from services.contract.prediction import IMAGE_BYTES

HEAD: Final = 256  # characters in which a data URL says what it is


def from_data_url(url: str, param: str) -> bytes:
    """Raises BadRequest, which names `param`."""
    head, comma, _ = url[:HEAD].partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        said = "addresses are never fetched" if "://" in url[:32] else "it is no data URL"
        raise BadRequest(f"{param}: {said}: send it as data:image/jpeg;base64,…", param=param)
    try:
        content = base64.b64decode("".join(url[len(head) + 1 :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{param}: its base64 cannot be read", param=param) from None
    if not content:
        raise BadRequest(f"{param}: it is empty", param=param)
    return content


def refusal_of(content: bytes) -> str | None:
    """Why nobody looks at an image, if so."""
    if not content:
        return "it is empty"
    return f"it has {len(content)} bytes, and {IMAGE_BYTES} is the most" if len(content) > IMAGE_BYTES else None
