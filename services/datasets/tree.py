"""What folders mean: which are splits, which labels, which only hold the others. docs/reference/data.md has the rules.

A split is never a label, and in doubt nothing is taken: the sentence says how to state the layout.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from services.contract.contents import Split
from services.contract.errors import InvalidArchive
from services.contract.layout import Layout
from services.datasets.entries import ArchiveEntry
from services.datasets.names import normal
from services.datasets.reading import Reading
from services.datasets.words import WORDS, named_splits, split_of

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
    count: int = 0  # of all pictures below

    def all(self) -> Iterator[ArchiveEntry]:
        yield from self.pictures
        for folder in self.folders.values():
            yield from folder.all()

    @property
    def split(self) -> Split | None:
        return split_of(self.name)

    def below(self, parts: Iterable[str]) -> "Folder | None":
        found: Folder | None = self
        for part in parts:
            found = found.folders.get(normal(part)) if found else None
        return found


def grown(pictures: Iterable[ArchiveEntry]) -> Folder:
    """Folders by their names, of which é is one however it is written."""
    root = Folder("")
    for entry in pictures:
        folder = root
        root.count += 1
        for part in entry.name.split("/")[:-1]:
            path = f"{folder.path}/{part}".lstrip("/")
            folder = folder.folders.setdefault(normal(part), Folder(path, normal(part)))
            folder.count += 1
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
    stated = [(split, place) for split, places in layout.splits.items() for place in places]
    all_pictures = list(root.all())
    for split, place in sorted(stated, key=lambda one: -one[1].count("/") - bool(one[1])):  # the innermost first
        folder = root.below(filter(None, place.split("/")))
        if folder is None or not folder.count:
            raise InvalidArchive(f"layout.{split}: the archive has no folder {place!r} with pictures of its own")
        reading.means(folder.path or ".", split)
        _labels_of(folder, split, layout, reading)
        _take_out(root, folder)  # what holds it has no part of it
    placed = {image.entry.name for image in reading.images} | reading.gone
    reading.leave_out("outside the layout", (entry for entry in all_pictures if entry.name not in placed))


def _take_out(root: Folder, folder: Folder) -> None:
    *above, name = folder.path.split("/")
    count, holder = folder.count, root
    for part in above:
        holder.count -= count
        holder = holder.folders[normal(part)]
    holder.count -= count
    if folder is root:
        folder.pictures, folder.folders = [], {}
    else:
        del holder.folders[normal(name)]


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
    named = named_splits([folder.name for folder in folders])
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


def _refuse_two_of_one(named: dict[str, Split]) -> None:
    for split in set(named.values()):
        if len(same := [name for name in named if named[name] == split]) > 1:
            raise InvalidArchive(f"{_listed(same)} are all folders of {split}: {STATE}")


def _labels_or_splits_below(top: Folder, layout: Layout, reading: Reading) -> None:
    """`label/image`, or, where each label's folder holds splits only, `label/split/image`."""
    with_splits = {folder.path: folder for folder in top.folders.values() if _holds_splits(folder)}
    if not with_splits and not any(map(_holds_some_splits, top.folders.values())):
        _labels(top, "train", layout, reading)
        return
    if len(with_splits) < len(top.folders):
        others = [folder.path for folder in top.folders.values() if folder.path not in with_splits]
        held = f"{_listed(with_splits)} hold splits" if with_splits else "some labels hold splits beside others"
        raise InvalidArchive(f"{held}, {_listed(others)} not: {STATE}")
    reading.leave_out("in no label's folder", top.pictures)
    for label in with_splits.values():
        reading.means(label.path, "label")
        _refuse_two_of_one({name: split for name in label.folders if (split := split_of(name))})
        for folder in label.folders.values():
            assert folder.split is not None
            reading.means(folder.path, folder.split)
            _place(folder, label.name, folder.split, layout, reading)


def _holds_splits(folder: Folder) -> bool:
    return bool(folder.folders) and not folder.pictures and all(inner.split for inner in folder.folders.values())


def _holds_some_splits(folder: Folder) -> bool:
    return len({inner.split for inner in folder.folders.values()} - {None}) > 1


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
        if label.pictures and label.split:
            raise InvalidArchive(f"labels: {label.path!r} is called like a split: {STATE}")
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
        shares_none = reading.labels(split).isdisjoint(labels) or reading.is_mostly_loose(split, LOOSE)
        if first == "train" and shares_none:
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
