"""Formats other than JPEG and PNG, decoded in a process of their own, which has limits: memory, and seconds an image.

`python -m workers.vision.decoder` is that process: for each image its length and bytes come in, a line of JSON and the
pixels go out. It ends with its stdin.
"""

import io
import json
import math
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, Any

import pillow_heif
from PIL import Image, UnidentifiedImageError

from services.datasets.pictures import HEAD, format_of
from workers.vision.shown import Notes, shown

FORMATS = ("WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "HEIF")
MAX_PIXELS = 100_000_000  # an image is decoded whole, three bytes a pixel; a 30,000 × 30,000 one would take 2.7 GB
MAX_ASPECT = 300  # its short side becomes 256: of a strip 1 × 24,000 the other would have six million
MEMORY = 3 * 1024**3  # bytes of address space: MAX_PIXELS in four channels, and copies
LENGTH = struct.Struct(">Q")

Image.MAX_IMAGE_PIXELS = None  # our own cap stands instead of Pillow's warning
_of_thread = threading.local()


class Unreadable(Exception):
    """The bytes are no image that we can decode; the message says why."""


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
        command = [sys.executable, "-m", "workers.vision.decoder", str(seconds), str(MEMORY)]
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


def refuse_large(image: Image.Image) -> None:
    size = f"{image.width} × {image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"{size} are more than {MAX_PIXELS}")
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise Unreadable(f"{size}: one side is more than {MAX_ASPECT} times the other")


def in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:120]}"


# --- the process ---------------------------------------------------------------------------------------------------


def main() -> None:
    source, target = sys.stdin.buffer, sys.stdout.buffer
    seconds, memory = map(int, sys.argv[1:])
    pillow_heif.register_heif_opener(thumbnails=False)
    _limit(resource.RLIMIT_AS, memory)
    while length := source.read(LENGTH.size):
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
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


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _exactly(source: IO[bytes], length: int) -> bytes:
    """Raises EOFError."""
    content = source.read(length)
    if len(content) < length:
        raise EOFError
    return content


if __name__ == "__main__":
    main()
    os._exit(0)
