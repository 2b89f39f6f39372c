"""Images and archives that the tests draw: small, real, and different from each other."""

import io
import tarfile
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw


def shape(name: str, seed: int, side: int = 64) -> Image.Image:
    """A white shape on black, its place and size depending on `seed`."""
    image = Image.new("RGB", (side, side))
    image.putpixel((0, 0), (seed % 256, seed // 256, 0))  # no two seeds give equal bytes
    draw = ImageDraw.Draw(image)
    x, y, r = 20 + seed * 7 % 24, 20 + seed * 11 % 24, 8 + seed * 5 % 9
    box = (x - r, y - r, x + r, y + r)
    if name == "circle":
        draw.ellipse(box, fill="white")
    elif name == "square":
        draw.rectangle(box, fill="white")
    else:
        draw.line(box, fill="white", width=4)
        draw.line((x - r, y + r, x + r, y - r), fill="white", width=4)
    return image


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def shapes(each: int, names: tuple[str, ...] = ("circle", "square"), first: int = 0) -> dict[str, bytes]:
    """`each` images of each shape, by path."""
    return {f"{name}/{i:03d}.png": png(shape(name, i)) for name in names for i in range(first, first + each)}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return content.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
