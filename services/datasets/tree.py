"""What folders mean: which are splits, which labels, which only hold the others. docs/reference/data.md has the rules.

A split is never a label, and in doubt nothing is taken: the sentence says how to state the layout.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from services.contract.contents import Split
from services.contract.errors import InvalidArchive
from services.contract.layout import Layout
from services.datasets.entries import ArchiveEntry
from services.datasets.names import normal
from services.datasets.reading import Reading

WORDS: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
BESIDE_TRAIN: Final = ("dev", "eval")  # which are val there, and else nothing
THINGS: Final = r"(?:[ _.-]?(?:set|data|dataset|images|imgs))"
WORD: Final = rf"({'|'.join(WORDS)}){THINGS}?"
NO_LABEL: Final = frozenset(
    {"images", "image", "imgs", "img", "data", "dataset", "all", "unknown", "pictures", "photos"}
)
LOOSE: Final = 0.2  # of the pictures, which may lie in no label's folder
STATE: Final = 'state it: layout={"train": "…", "test": "…", "ignore": ["…"]}'
EXAMPLE: Final = "put those of each label into a folder of its name (cat/1.jpg, dog/1.jpg)"


@dataclass
class Folder:
    path: str
    name: str = ""
    folders: dict[str, "Folder"] = field(default_factory=dict)
    pictures: list[ArchiveEntry] = field(default_factory=list)  # that lie directly in it

    def all(self) -> Iterator[ArchiveEntry]:
        yield from self.pictures
        for folder in self.folders.values():
            yield from folder.all()

    @property
    def count(self) -> int:
        return sum(1 for _ in self.all())

    @property
    def split(self) -> Split | None:
        return split_of(self.name)

    def below(self, parts: Iterable[str]) -> "Folder | None":
        found: Folder | None = self
        for part in parts:
            found = found.folders.get(normal(part)) if found else None
        return found


def split_of(name: str) -> Split | None:
    """That a folder's name is the word of, exactly."""
    word = re.fullmatch(WORD, name.strip().lower())
    return WORDS[word[1]] if word else None


def grown(pictures: Iterable[ArchiveEntry]) -> Folder:
    """Folders by their names, of which é is one however it is written."""
    root = Folder("")
    for entry in pictures:
        folder = root
        for part in entry.name.split("/")[:-1]:
            path = f"{folder.path}/{part}".lstrip("/")
            folder = folder.folders.setdefault(normal(part), Folder(path, normal(part)))
        folder.pictures.append(entry)
    return root


def read_tree(root: Folder, layout: Layout, reading: Reading) -> None:
    """Raises InvalidArchive."""
    if layout.splits:
        _stated(root, layout, reading)
    else:
        _guessed(root, layout, reading)
    _without_labels(reading)


# --- stated by the user --------------------------------------------------------------------------------------------


def _stated(root: Folder, layout: Layout, reading: Reading) -> None:
    for split, places in layout.splits.items():
        for place in places:
            folder = root.below(filter(None, place.split("/")))
            if folder is None or not folder.count:
                raise InvalidArchive(f"layout.{split}: the archive has no folder {place!r} with pictures")
            reading.means(folder.path or ".", split)
            _labels_of(folder, split, layout, reading)
    placed = {image.entry.name for image in reading.images} | reading.gone
    reading.leave_out("outside the layout", (entry for entry in root.all() if entry.name not in placed))


# --- guessed -------------------------------------------------------------------------------------------------------


def _guessed(root: Folder, layout: Layout, reading: Reading) -> None:
    top = _unwrapped(root, reading, keep_splits=True)
    splits = _splits(list(top.folders.values()), reading)
    if splits is None:
        _labels_or_splits_below(top, layout, reading)
        return
    reading.leave_out("in no split's folder", top.pictures)
    for folder in top.folders.values():
        if split := splits.get(folder.name):
            reading.means(folder.path, split)
            _labels_of(folder, split, layout, reading)
        else:
            reading.say_left_out_folder(folder.path, folder.count)
            reading.leave_out("beside the splits", folder.all())


def _unwrapped(folder: Folder, reading: Reading, *, keep_splits: bool) -> Folder:
    """Below folders that only hold the one that matters."""
    while len(folder.folders) == 1:
        (inner,) = folder.folders.values()
        below = inner.count - len(inner.pictures)
        is_label = len(inner.pictures) > below
        if (keep_splits and inner.name.strip().lower() in WORDS) or is_label or len(folder.pictures) >= inner.count:
            break
        reading.means(inner.path, "wrapper")
        reading.leave_out("beside the folder that holds the others", folder.pictures)
        folder = inner
    return folder


def _splits(folders: list[Folder], reading: Reading) -> dict[str, Split] | None:
    """By the folders' names; None where all of them are labels. Raises InvalidArchive where neither is certain."""
    named = _named_splits([folder.name for folder in folders])
    others = [folder for folder in folders if folder.name not in named]
    if not named:
        return None
    deep = {named[folder.name] for folder in folders if folder.name in named and folder.folders}
    if not others or ("train" in deep and len(deep) > 1):
        _refuse_two_of_one(named)
        return named
    is_flat = not any(folder.folders for folder in folders)
    if "train" not in named.values() or (is_flat and len(others) > 1 and set(named.values()) == {"train"}):
        reading.say_labels_like_splits(sorted(named))
        return None
    raise InvalidArchive(
        f"{_listed(named)} look like splits, and {_listed(folder.name for folder in others)} like labels: {STATE}"
    )


def _named_splits(names: list[str]) -> dict[str, Split]:
    named = {name: split for name in names if (split := split_of(name))}
    affixes: dict[str, dict[str, Split]] = {}
    for name in names:
        if name not in named and (found := _affixed(name)):
            affixes.setdefault(found[0], {})[name] = found[1]
    for of_one_affix in affixes.values():
        if len(set(of_one_affix.values())) > 1:
            named |= of_one_affix
    if "train" in named.values():
        named |= {name: "val" for name in names if name.strip().lower() in BESIDE_TRAIN}
    return named


def _affixed(name: str) -> tuple[str, Split] | None:
    """What stands beside a split's word, as in `seg_train` or `train2017`, and the split."""
    name = name.strip().lower()
    if before := re.fullmatch(rf"(.+)[ _.-]{WORD}", name):
        return f"{before[1]} …", WORDS[before[2]]
    if after := re.fullmatch(rf"{WORD}(?:[ _.-](.+)|(\d+))", name):
        return f"… {after[2] or after[3]}", WORDS[after[1]]
    return None


def _refuse_two_of_one(named: dict[str, Split]) -> None:
    for split in set(named.values()):
        if len(same := [name for name in named if named[name] == split]) > 1:
            raise InvalidArchive(f"{_listed(same)} are all folders of {split}: {STATE}")


def _labels_or_splits_below(top: Folder, layout: Layout, reading: Reading) -> None:
    """`label/image`, or, where each label's folder holds splits only, `label/split/image`."""
    with_splits = [folder for folder in top.folders.values() if _holds_splits(folder)]
    if not with_splits:
        _labels(top, "train", layout, reading)
        return
    if len(with_splits) < len(top.folders):
        others = [folder.path for folder in top.folders.values() if folder not in with_splits]
        raise InvalidArchive(
            f"{_listed(folder.path for folder in with_splits)} hold splits, {_listed(others)} not: {STATE}"
        )
    reading.leave_out("in no label's folder", top.pictures)
    for label in with_splits:
        reading.means(label.path, "label")
        _refuse_two_of_one({name: split for name in label.folders if (split := split_of(name))})
        for folder in label.folders.values():
            assert folder.split is not None
            reading.means(folder.path, folder.split)
            _place(folder, label.name, folder.split, layout, reading)


def _holds_splits(folder: Folder) -> bool:
    return bool(folder.folders) and not folder.pictures and all(inner.split for inner in folder.folders.values())


# --- labels --------------------------------------------------------------------------------------------------------


def _labels_of(folder: Folder, split: Split, layout: Layout, reading: Reading) -> None:
    """Of a split's folder, below wrappers; here a split's word beside others may be a label."""
    inner = _unwrapped(folder, reading, keep_splits=False)
    if len(inner.folders) > 1 and all(label.split for label in inner.folders.values()):
        raise InvalidArchive(
            f"{_listed(label.path for label in inner.folders.values())} are splits in a split: {STATE}"
        )
    _labels(inner, split, layout, reading)


def _labels(folder: Folder, split: Split, layout: Layout, reading: Reading) -> None:
    """Each of its folders is a label."""
    if layout.labels == "leaf":
        _leaves(folder, split, reading)
        return
    reading.be_loose(split, folder.pictures, folder.count)
    for label in folder.folders.values():
        reading.means(label.path, "label")
        _place(label, label.name, split, layout, reading)


def _place(folder: Folder, label: str, split: Split, layout: Layout, reading: Reading) -> None:
    reading.place(folder.all(), label, split)
    if layout.labels == "first" and any(inner.count for inner in folder.folders.values()):
        reading.deeper.append(folder.path)


def _leaves(folder: Folder, split: Split, reading: Reading) -> None:
    """Each picture's last folder is its label."""
    reading.be_loose(split, folder.pictures, folder.count)
    waiting = list(folder.folders.values())
    while waiting:
        label = waiting.pop(0)
        waiting += label.folders.values()
        if label.pictures:
            reading.means(label.path, "label")
            reading.place(label.pictures, label.name, split)


# --- what must not be ----------------------------------------------------------------------------------------------


def _without_labels(reading: Reading) -> None:
    """Pictures that lie in no label's folder: few are left out, many mean that there are no labels. A val or test that
    shares none with train is left out. Raises InvalidArchive."""
    first = next((split for split in ("train", "val", "test") if split in reading.splits), None)
    if first is None:
        raise InvalidArchive(_no_labels(reading))
    labels = reading.labels(first)
    lone = len(labels) == 1 and (next(iter(labels)).lower() in NO_LABEL or split_of(next(iter(labels))))
    if not labels or lone or reading.is_mostly_loose(first, LOOSE):
        raise InvalidArchive(_no_labels(reading, next(iter(labels)) if lone else None, first))
    reading.leave_loose_out(first)
    for split in sorted(reading.splits - {first}):
        if first == "train" and reading.labels(split).isdisjoint(labels):
            reading.leave_split_out(split)
        else:
            reading.leave_loose_out(split)


def _no_labels(reading: Reading, lone: str | None = None, split: Split = "train") -> str:
    where = f" for {split}" if reading.has_splits else ""
    if lone is not None:
        return f"the archive has no labels{where}: all pictures lie in {lone!r}, which is no label: {EXAMPLE}"
    loose = reading.a_loose_one(split)
    example = f", as {loose!r}" if loose else ""
    return f"the archive has no labels{where}: pictures lie in no label's folder{example}: {EXAMPLE}"


def _listed(names: Iterable[str]) -> str:
    some = sorted(names)
    return ", ".join(map(repr, some[:5])) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
