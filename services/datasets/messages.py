"""OpenAI's vision fine-tuning files: JSON lines of messages with an image as a data URL, and the label as the answer.

Their pictures are put into a plain tar, from which they are read like any other's. Addresses are never fetched.
"""

import base64
import io
import json
import re
import tarfile
from collections.abc import Iterator
from typing import Any, Final

from services.contract.errors import InvalidArchive
from services.datasets.bounds import MAX_IMAGE, refuse_many
from services.located import Where, opened, written

MAX_LINE: Final = MAX_IMAGE * 4 // 3 + 65_536  # bytes: base64 of the largest picture, and what stands around it
FIRST: Final = 4096  # bytes by which the form of a file is known
DATA_URL: Final = re.compile(r"data:image/[a-zA-Z0-9.+-]+;base64,")


def is_json_lines(path: Where) -> bool:
    with opened(path, FIRST) as file:
        return file.read(FIRST).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def tar_of_messages(path: Where) -> tuple[Where, dict[str, str]]:
    """A plain tar beside `path`, and the label of each of its pictures. Raises InvalidArchive, naming the line."""
    plain, labels = f"{path}.tar", {}
    with written(plain) as target, tarfile.open(fileobj=target, mode="w") as archive:
        for number, line in _lines(path):
            url, label = _example(line, number)
            content = _decoded(url, number)
            member = tarfile.TarInfo(f"{number:07d}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            labels[member.name] = label
    if not labels:
        raise InvalidArchive("the file has no lines with pictures")
    return plain, labels


def _lines(path: Where) -> Iterator[tuple[int, bytes]]:
    with opened(path) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            refuse_many(number := number + 1)
            if len(line) > MAX_LINE:
                raise InvalidArchive(f"line {number}: it is longer than {MAX_LINE} bytes")
            if line.strip():
                yield number, line


def _example(line: bytes, number: int) -> tuple[str, str]:
    """The one picture's URL and the answer of the assistant."""
    try:
        messages = json.loads(line)["messages"]
        urls = [url for message in messages if message["role"] == "user" for url in _urls(message["content"])]
        answers = [_answer(message["content"]) for message in messages if message["role"] == "assistant"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidArchive(
            f'line {number}: send {{"messages": [{{"role": "user", …}}, {{"role": "assistant", "content": "cat"}}]}}'
        ) from None
    if len(urls) != 1 or len(answers) != 1 or not answers[0].strip():
        raise InvalidArchive(
            f"line {number}: it has {len(urls)} pictures and {len(answers)} answers; one of each is taken"
        )
    return urls[0], answers[0].strip()


def _urls(content: Any) -> Iterator[str]:
    for part in content if isinstance(content, list) else ():
        if part["type"] == "image_url":
            url = part["image_url"]["url"] if isinstance(part["image_url"], dict) else part["image_url"]
            yield str(url)


def _answer(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _decoded(url: str, number: int) -> bytes:
    found = DATA_URL.match(url)
    if found is None:
        said = "an address is never fetched" if url.startswith(("http://", "https://")) else "it is none"
        raise InvalidArchive(f"line {number}: send the picture as a data URL (data:image/jpeg;base64,…): {said}")
    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except ValueError:
        raise InvalidArchive(f"line {number}: its picture is no base64") from None
