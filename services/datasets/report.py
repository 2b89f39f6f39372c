"""Findings: what the owner of a data set should know of it before any training. From the listing alone."""

import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from services.contract.contents import Contents
from services.contract.layout import RULES
from services.contract.report import NAMED, DataReport, LeftOut, Sizes
from services.datasets.entries import ArchiveTree
from services.datasets.pictures import ARCHIVES, RAW, format_of, is_junk, suffix_of
from services.datasets.reading import JUNK, NO_PICTURE, PlacedImage, Reading

FEW = 5  # pictures of a label, below which its accuracy is luck
IN_NAMES = 'put each label\'s into a folder of its own; where file names hold it, layout={"pattern": "{label}_*"}'
LEFT_OUT_RIGHTLY = frozenset({JUNK, NO_PICTURE})
IMBALANCE = 10  # times as many pictures of the largest label as of the smallest


def report_of(archive: ArchiveTree, reading: Reading, contents: Contents) -> DataReport:
    _names(archive, reading)
    _folders(archive, reading)
    _files(reading)
    _labels(reading, contents)
    _duplicates(reading)
    sizes = sorted(image.entry.size for image in reading.images)
    least_first = {"error": 0, "warning": 1, "info": 2}
    return DataReport(
        rules=RULES,
        layout=dict(list(reading.layout.items())[: 50 * NAMED]),
        contents=contents,
        formats=dict(Counter(format_of(image.entry.head) or "unknown" for image in reading.images).most_common()),
        sizes=Sizes(least=sizes[0], median=round(statistics.median(sizes)), most=sizes[-1]) if sizes else None,
        left_out=list(_left_out(reading)),
        findings=sorted(reading.findings, key=lambda finding: least_first[finding.severity]),
    )


def _left_out(reading: Reading) -> Iterable[LeftOut]:
    for reason, paths in reading.left_out.items():
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for path in paths:
            by_kind[suffix_of(path)].append(path)
        for kind, files in sorted(by_kind.items(), key=lambda entry: -len(entry[1])):
            yield LeftOut(reason=reason, kind=kind, count=len(files), files=files[:NAMED])


# --- names, folders and files --------------------------------------------------------------------------------------


def _names(archive: ArchiveTree, reading: Reading) -> None:
    if archive.encoding.guessed:
        message = f"The archive does not say how its names are written; they were read as {archive.encoding.name}."
        odd = [image.entry.name for image in reading.images if not image.entry.name.isascii()]
        reading.say("warning", "names_guessed", message, images=odd, remedy="if they look wrong, pack with UTF-8 names")
    if dotted := sorted({image.label for image in reading.images if image.label.startswith(".")}):
        message = f"{', '.join(dotted)}: folders with a dot are labels here."
        reading.say("info", "label_with_a_dot", message, labels=dotted)


def _folders(archive: ArchiveTree, reading: Reading) -> None:
    pictures = [image.entry.name for image in reading.images]
    pictures += [path for reason, paths in reading.left_out.items() if reason not in LEFT_OUT_RIGHTLY for path in paths]
    with_pictures = {parent for path in pictures for parent in _parents(path)}
    folders = {*archive.folders, *(parent for entry in archive.entries for parent in _parents(entry.name))}
    if empty := sorted(folder for folder in folders - with_pictures if not is_junk(folder)):
        message = f"{len(empty)} folders hold no pictures, as {empty[0]!r}: they are no labels."
        reading.say("warning", "empty_folders", message, images=empty, remedy="put their pictures in, or remove them")
    if reading.deeper:
        message = f"{len(reading.deeper)} labels' folders hold further folders: their pictures count to the first."
        remedy = 'layout={"labels": "leaf"} takes the last folder as the label'
        reading.say("warning", "deeper_folders", message, images=reading.deeper, remedy=remedy)


def _parents(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _files(reading: Reading) -> None:
    if others := [image for image in reading.images if format_of(image.entry.head) is None]:
        named = [image.entry.name for image in others]
        message = (
            f"{len(named)} files are called pictures and begin like none, as {named[0]!r}: they will not be readable."
        )
        reading.say("warning", "no_pictures", message, images=named, remedy="replace or remove them")
    other = [path for reason, paths in reading.left_out.items() if reason == NO_PICTURE for path in paths]
    for code, suffixes, remedy in (
        ("camera_raw", RAW, "export them as JPEG"),
        ("archives_inside", ARCHIVES, "unpack them, and pack their folders"),
    ):
        if found := [path for path in other if suffix_of(path) in suffixes]:
            message = f"{len(found)} files as {found[0]!r} are left out."
            reading.say("warning", code, message, images=found, remedy=remedy)
    if reading.left_out:
        count = sum(map(len, reading.left_out.values()))
        reasons = ", ".join(f"{len(paths)} {reason}" for reason, paths in reading.left_out.items())
        message = f"{count} files are left out: {reasons}."
        reading.say("info", "left_out", message, images=[p for paths in reading.left_out.values() for p in paths])


# --- labels --------------------------------------------------------------------------------------------------------


def _labels(reading: Reading, contents: Contents) -> None:
    counts = contents.of("train")
    _alike(reading, counts)
    if few := sorted(label for label, count in counts.items() if count < FEW):
        message = f"{len(few)} labels have fewer than {FEW} pictures, as {few[0]!r}."
        reading.say("warning", "few_pictures", message, labels=few, remedy="add pictures, or leave these labels out")
    if len(counts) == 1:
        (only,) = counts
        message = f"All pictures have one label, {only!r}: a classifier needs two."
        reading.say("error", "one_label", message, labels=[only], remedy=IN_NAMES)
    if len(counts) > 1 and max(counts.values()) == 1 and not contents.of("val"):
        message = "Each label has one picture: none can be held out to validate with."
        reading.say("warning", "nothing_to_hold_out", message, remedy="add pictures, or give a validation_file")
    if len(counts) > 1 and max(counts.values()) >= IMBALANCE * min(counts.values()):
        largest, smallest = max(counts, key=lambda label: counts[label]), min(counts, key=lambda label: counts[label])
        message = f"{largest!r} has {counts[largest]} pictures, {smallest!r} {counts[smallest]}."
        remedy = 'class_weights="balanced" gives each label the same say'
        reading.say("warning", "imbalance", message, labels=[largest, smallest], remedy=remedy)
    for split in ("val", "test"):
        if unknown := sorted(contents.of(split).keys() - counts.keys()) if counts else []:
            message = f"{split} has labels that train has not, as {unknown[0]!r}: a job with this file is refused."
            reading.say(
                "error", "unknown_labels", message, labels=unknown, remedy="add them to train, or leave them out"
            )


def _alike(reading: Reading, counts: Mapping[str, int]) -> None:
    """In all but case, spaces and forms of the same letters."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups["".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    for same in groups.values():
        if len(same) > 1:
            message = f"{' and '.join(map(repr, same))} look alike, and are different labels."
            reading.say("warning", "labels_alike", message, labels=same, remedy="rename their folders if they are one")


# --- the same bytes ------------------------------------------------------------------------------------------------


def _duplicates(reading: Reading) -> None:
    same: defaultdict[str, list[PlacedImage]] = defaultdict(list)
    for image in reading.images:
        same[image.entry.sha256].append(image)
    copies = [images for images in same.values() if len(images) > 1]
    across = [images for images in copies if len({image.split for image in images}) > 1]
    labelled = [images for images in copies if len({image.label for image in images}) > 1]
    _say_same(
        reading, across, "same_in_splits", "pictures are in more than one split", "the scores will flatter: keep one"
    )
    _say_same(reading, labelled, "same_under_labels", "pictures have more than one label", "decide on one of them")
    said = {images[0].entry.sha256 for images in (*across, *labelled)}
    rest = [images for images in copies if images[0].entry.sha256 not in said]
    if rest:
        paths = [image.entry.name for images in rest for image in images]
        reading.say("info", "same_twice", f"{len(rest)} pictures are there more than once.", images=paths)


def _say_same(reading: Reading, groups: list[list[PlacedImage]], code: str, what: str, remedy: str) -> None:
    if groups:
        paths = [image.entry.name for images in groups for image in images]
        labels = sorted({image.label for images in groups for image in images})
        message = f"{len(groups)} {what}, as {paths[0]!r} and {paths[1]!r}."
        reading.say("warning", code, message, labels=labels, images=paths, remedy=remedy)
