"""Formats other than JPEG and PNG, decoded in a process of their own, which has limits: memory, and seconds an image.

`python -m workers.vision.decoder` is that process: for each image its length and bytes come in, a line of JSON and the
pixels go out. It ends with its stdin.
"""

import io
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any

import pillow_heif
from PIL import Image, UnidentifiedImageError

from services.datasets.pictures import HEAD, format_of
from services.environment import of_module
from services.pictures.bounds import FORMATS, MEMORY, Unreadable, in_words, limit_memory, limit_time, refuse_large
from services.pictures.shown import Notes, shown

LENGTH = struct.Struct(">Q")

_of_thread = threading.local()


def decoded(content: bytes, seconds: int) -> tuple[Image.Image, Notes]:
    """As `shown` gives it. Raises Unreadable; also where it takes more than `seconds` of a core."""
    decoder: Decoder | None = getattr(_of_thread, "decoder", None)
    if decoder is None or not decoder.lives:
        decoder = _of_thread.decoder = Decoder(seconds)
    try:
        return decoder.ask(content)
    except (OSError, EOFError):
        slow = decoder.close() in (-signal.SIGXCPU, -signal.SIGKILL)
        raise Unreadable(f"it takes more than {seconds} s to decode" if slow else "its decoder crashed") from None


class Decoder:
    """A thread's; it ends with the thread."""

    def __init__(self, seconds: int) -> None:
        command = of_module("workers.vision.decoder", str(seconds), str(MEMORY))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._seconds = seconds

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def ask(self, content: bytes) -> tuple[Image.Image, Notes]:
        """Raises Unreadable, OSError, EOFError."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(LENGTH.pack(len(content)) + content)
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], 60 + 4 * self._seconds)[0]:  # cores may be shared
            raise EOFError
        told = json.loads(self.process.stdout.readline() or "null")
        if told is None:
            raise EOFError
        if "refusal" in told:
            raise Unreadable(told["refusal"])
        width, height = told["size"]
        pixels = _exactly(self.process.stdout, 3 * width * height)
        return Image.frombytes("RGB", (width, height), pixels), told["notes"]

    def close(self) -> int:
        """Its exit status."""
        with suppress(OSError):
            self.process.kill()
            self.process.communicate()
        return self.process.wait()

    def __del__(self) -> None:
        self.close()


# --- the process ---------------------------------------------------------------------------------------------------


def main() -> None:
    source, target = sys.stdin.buffer, sys.stdout.buffer
    seconds, memory = map(int, sys.argv[1:])
    pillow_heif.register_heif_opener(thumbnails=False)
    limit_memory(memory)
    while length := source.read(LENGTH.size):
        limit_time(seconds)
        told, pixels = _answer(_exactly(source, LENGTH.unpack(length)[0]))
        target.write(json.dumps(told).encode() + b"\n" + pixels)
        target.flush()


def _answer(content: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            refuse_large(image)
            upright, notes = shown(image)
            return {"size": upright.size, "notes": notes}, upright.tobytes()
    except Unreadable as error:
        return {"refusal": str(error)}, b""
    except UnidentifiedImageError:
        kind = format_of(content[:HEAD])
        return {"refusal": f"it begins as {kind} and is damaged" if kind else "no image format that is known"}, b""
    except MemoryError:
        return {"refusal": "it takes more memory to decode than it may"}, b""
    except Exception as error:  # decoders raise whatever they like on damaged bytes
        return {"refusal": in_words(error)}, b""


def _exactly(source: IO[bytes], length: int) -> bytes:
    """Raises EOFError."""
    content = source.read(length)
    if len(content) < length:
        raise EOFError
    return content


if __name__ == "__main__":
    main()
    os._exit(0)
