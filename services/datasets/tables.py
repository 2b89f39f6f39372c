"""Labels that a table in the archive states, a CSV or JSON lines with a path and a label a row; or files' own names."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.contract.contents import Split
from services.contract.errors import InvalidArchive
from services.contract.layout import Layout
from services.datasets.entries import ArchiveEntry, ArchiveTree
from services.datasets.names import normal
from services.datasets.pictures import TABLES, suffix_of
from services.datasets.reading import Reading
from services.datasets.words import split_of

MAX_TABLE = 64 * 1024**2  # bytes
PATHS, LABEL, SPLIT = ("path", "file_name"), "label", "split"


@dataclass(frozen=True)
class Row:
    path: str
    label: str
    split: str


@dataclass(frozen=True)
class StatedTable:
    """`folder` is where the table lies: its paths go from there, or from the archive's top."""

    name: str
    rows: list[Row]

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]


def tables_of(archive: ArchiveTree, layout: Layout, candidates: Iterable[ArchiveEntry]) -> list[StatedTable]:
    """The one that the layout names, or all that have a path and a label a row. Raises InvalidArchive."""
    if layout.pattern is not None or layout.splits:
        return []
    entries = [entry for entry in candidates if suffix_of(entry.name) in TABLES]
    if layout.table is None:
        return [table for entry in entries if (table := _table(archive, entry)) is not None]
    named = next((entry for entry in entries if entry.name == layout.table), None)
    if named is None:
        raise InvalidArchive(f"layout.table: the archive has no CSV or JSON lines {layout.table!r}")
    table = _table(archive, named)
    if table is None:
        raise InvalidArchive(f"{named.name!r} has no column {' or '.join(PATHS)} beside a column {LABEL}")
    return [table]


def read_tables(tables: list[StatedTable], pictures: list[ArchiveEntry], reading: Reading) -> None:
    """Raises InvalidArchive."""
    known = {normal(entry.name): entry for entry in pictures}
    placed: set[str] = set()
    missing: list[str] = []
    for table in tables:
        reading.means(table.name, "table")
        for row in table.rows:
            entry = known.get(_joined(table.folder, row.path)) or known.get(_joined("", row.path))
            if entry is None:
                missing.append(row.path)
            elif entry.name in placed:
                raise InvalidArchive(f"{table.name!r} names {row.path!r} twice")
            else:
                placed.add(entry.name)
                reading.place([entry], normal(row.label), _split(row, table, entry))
    if not placed:
        raise InvalidArchive(
            f"{tables[0].name!r} names none of the archive's pictures (it names {missing[:1] or 'none'})"
        )
    if missing:
        message = f"{len(missing)} files that {tables[0].name!r} names are not in the archive."
        reading.say(
            "warning", "table_names_missing", message, images=missing, remedy="pack them too, or drop their rows"
        )
    reading.leave_out("in no table", (entry for entry in pictures if entry.name not in placed))


def read_names(layout: Layout, pictures: list[ArchiveEntry], reading: Reading) -> None:
    """By the layout's pattern. Raises InvalidArchive."""
    others = []
    for entry in pictures:
        found = layout.label_in_name(entry.name)
        split = _named_split(found["split"], entry.name) if found and "split" in found.groupdict() else None
        if found is None:
            others.append(entry)
        else:
            reading.place([entry], normal(found["label"]), split or _stated_split(layout, entry) or _above(entry.name))
    if not reading.images:
        raise InvalidArchive(f"layout.pattern: {layout.pattern!r} fits none of the pictures, as {others[0].name!r}")
    if others:
        message = f"{len(others)} pictures do not fit the pattern {layout.pattern!r} and are left out."
        reading.say("warning", "names_do_not_fit", message, images=[entry.name for entry in others])
        reading.leave_out("name does not fit the pattern", others)


# --- a table -------------------------------------------------------------------------------------------------------


def _table(archive: ArchiveTree, entry: ArchiveEntry) -> StatedTable | None:
    """None for one that states no labels."""
    if entry.size > MAX_TABLE:
        return None
    try:
        content = archive.read(entry)
        text = _decoded(content)
        rows = list(_of_csv(text) if suffix_of(entry.name) == ".csv" else _of_json_lines(text))
    except (csv.Error, _NoTable):
        return None
    if rows and "\ufffd" in text:
        raise InvalidArchive(f"{entry.name!r} is no UTF-8: save it so")
    for number, row in enumerate(rows, 1):
        if not row.path or not row.label:
            raise InvalidArchive(f"{entry.name!r}: row {number} has no {'path' if not row.path else LABEL}")
    return StatedTable(entry.name, rows) if rows else None


def _decoded(content: bytes) -> str:
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


class _NoTable(ValueError):
    """It states no labels."""


def _of_csv(text: str) -> Iterator[Row]:
    header = text.replace("\r", "\n").partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=None), delimiter=max(",;\t", key=header.count), skipinitialspace=True
    )
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    path = next((columns[name] for name in PATHS if name in columns), None)
    if path is None or LABEL not in columns:
        raise _NoTable
    for row in reader:
        yield Row(
            _text(row[path]), _text(row[columns[LABEL]]), _text(row[columns[SPLIT]] if SPLIT in columns else None)
        )


def _of_json_lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(filter(str.strip, text.split("\n"))):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise _NoTable from None
        path = next((row[name] for name in PATHS if name in row), None) if isinstance(row, dict) else None
        if number == 0 and (path is None or LABEL not in row):
            raise _NoTable
        yield Row(_text(path), _text(row.get(LABEL)), _text(row.get(SPLIT)))


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int) else ""


def _joined(folder: str, path: str) -> str:
    path = path.replace("\\", "/").removeprefix("./")
    return normal(f"{folder}/{path}" if folder else path)


# --- splits --------------------------------------------------------------------------------------------------------


def _split(row: Row, table: StatedTable, entry: ArchiveEntry) -> Split:
    if row.split:
        return _named_split(row.split, f"{table.name}: {row.path}")
    stem = table.name.rpartition("/")[2].rpartition(".")[0]  # as in train.csv and test.csv beside images/
    return split_of(stem) or _above(entry.name)


def _named_split(word: str, where: str) -> Split:
    split = split_of(word)
    if split is None:
        raise InvalidArchive(f"{where}: {word!r} is no split: say train, val or test")
    return split


def _stated_split(layout: Layout, entry: ArchiveEntry) -> Split | None:
    for split, places in layout.splits.items():
        if any(not place or entry.name.startswith(f"{place}/") for place in places):
            return split
    return None


def _above(path: str) -> Split:
    """The nearest folder that is called like a split; train where there is none."""
    folders = path.split("/")[:-1]
    return next((split for name in reversed(folders) if (split := split_of(name))), "train")
