"""What the folders of an archive mean: `label/image`, also below `train/`, `val/`, `test/`, and below folders that
hold everything."""

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

from services.contract.file import Split
from services.datasets.archives import ArchiveEntry
from services.datasets.index import IndexedImage

SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ""})
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


def images_of(entries: list[ArchiveEntry]) -> tuple[list[IndexedImage], int]:
    """The images, and how many other files there are. Every file in a label's folder is taken for an image; the trainer
    names those that are none."""
    visible = [(entry, parts) for entry in entries if not _is_junk(parts := PurePosixPath(entry.name).parts)]
    depth = _shared_depth([parts for _, parts in visible])
    split_of = _splits([parts[depth:] for _, parts in visible])
    images = [image for entry, parts in visible if (image := _image(entry, parts[depth:], split_of)) is not None]
    return images, len(entries) - len(images)


def _is_junk(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part.lower() in JUNK for part in parts)


def _shared_depth(paths: list[tuple[str, ...]]) -> int:
    """How many leading folders hold everything, as in `my-data/cat/1.png`: they are no labels."""
    folders = [path[:-1] for path in paths if len(path) > 1]
    depth = 0
    while folders and all(len(f) > depth + 1 for f in folders):
        (name, *others) = {folder[depth] for folder in folders}
        if others or name.lower() in SPLITS:
            break
        depth += 1
    return depth


def _splits(paths: list[tuple[str, ...]]) -> Callable[[str], Split | None]:
    """Top folders are splits where all of them have a split's name, and labels lie below; else they are labels."""
    tops = {path[0].lower() for path in paths if len(path) > 1}
    are_splits = tops <= SPLITS.keys() and any(len(path) > 2 for path in paths)
    return lambda top: SPLITS[top.lower()] if are_splits else None


def _image(entry: ArchiveEntry, parts: tuple[str, ...], split_of: Callable[[str], Split | None]) -> IndexedImage | None:
    """None for a file that lies in no label's folder."""
    if len(parts) < 2:
        return None
    split = split_of(parts[0])
    inner = parts if split is None else parts[1:]
    if len(inner) < 2:
        return None
    label = unicodedata.normalize("NFC", inner[0])  # macOS writes é as two characters
    where = entry.offset, entry.stored, entry.size, entry.method, entry.sha256
    return IndexedImage(entry.name, label, split or "train", *where)
