"""What an archive was read as, while its rules are applied: images with label and split, what is left out, and why."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.contract.contents import Split
from services.contract.report import NAMED, Finding, Severity
from services.datasets.entries import ArchiveEntry

JUNK = "left behind by a system"  # reasons to leave a file out
NO_PICTURE = "no picture"
STATED = "state the layout if that is not what you meant"


@dataclass(frozen=True)
class PlacedImage:
    entry: ArchiveEntry
    label: str
    split: Split


@dataclass
class Reading:
    images: list[PlacedImage] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # paths by reason
    layout: dict[str, str] = field(default_factory=dict)  # what each folder was taken for
    findings: list[Finding] = field(default_factory=list)
    splits_left_out: list[Split] = field(default_factory=list)
    deeper: list[str] = field(default_factory=list)  # labels' folders that hold more folders
    _loose: dict[Split, list[ArchiveEntry]] = field(default_factory=lambda: defaultdict(list))

    # --- what the rules say ----------------------------------------------------------------------------------------

    def means(self, folder: str, meaning: str) -> None:
        self.layout[folder] = meaning

    def place(self, pictures: Iterable[ArchiveEntry], label: str, split: Split) -> None:
        self.images += [PlacedImage(entry, label, split) for entry in pictures]

    def leave_out(self, reason: str, pictures: Iterable[ArchiveEntry]) -> None:
        if paths := [entry.name for entry in pictures]:
            self.left_out[reason] += paths

    def be_loose(self, split: Split, pictures: list[ArchiveEntry], of: int) -> None:
        """They lie in no label's folder, `of` so many."""
        if of:
            self._loose[split] += pictures

    def leave_loose_out(self, split: Split) -> None:
        if pictures := self._loose.pop(split, []):
            self.leave_out("in no label's folder", pictures)

    def leave_split_out(self, split: Split) -> None:
        """All of it: no picture has a label that is trained."""
        gone = [image.entry for image in self.images if image.split == split] + self._loose.pop(split, [])
        self.images = [image for image in self.images if image.split != split]
        self.leave_out(f"{split} without labels", gone)
        self.splits_left_out.append(split)
        then = " A job must then state split or validation_file." if split == "val" else ""
        self.say(
            "warning",
            "split_without_labels",
            f"The {len(gone)} pictures of {split} have none of train's labels and are left out.{then}",
            images=[entry.name for entry in gone],
            remedy=f"sort them into train's labels ({split}/cat/1.jpg), or leave them out",
        )

    # --- what is known then ----------------------------------------------------------------------------------------

    @property
    def splits(self) -> set[Split]:
        return {image.split for image in self.images} | {split for split, some in self._loose.items() if some}

    @property
    def has_splits(self) -> bool:
        return any(meaning in ("train", "val", "test") for meaning in self.layout.values())

    @property
    def gone(self) -> set[str]:
        """Paths that are left out, or lie loose."""
        loose = {entry.name for some in self._loose.values() for entry in some}
        return loose.union(*self.left_out.values())

    def labels(self, split: Split) -> set[str]:
        return {image.label for image in self.images if image.split == split}

    def is_mostly_loose(self, split: Split, share: float) -> bool:
        loose = len(self._loose.get(split, []))
        return loose > share * (loose + sum(image.split == split for image in self.images))

    def a_loose_one(self, split: Split) -> str | None:
        return next((entry.name for entry in self._loose.get(split, [])), None) or next(
            (path for paths in self.left_out.values() for path in paths), None
        )

    # --- findings --------------------------------------------------------------------------------------------------

    def say(
        self,
        severity: Severity,
        code: str,
        message: str,
        *,
        labels: Iterable[str] = (),
        images: Iterable[str] = (),
        remedy: str = "",
    ) -> None:
        labels, images = list(labels), list(images)
        self.findings.append(
            Finding(
                severity=severity,
                code=code,
                message=message,
                labels=labels[:NAMED],
                images=images[:NAMED],
                count=len(images) or len(labels),
                remedy=remedy,
            )
        )

    def say_left_out_folder(self, folder: str, count: int) -> None:
        message = f"{folder!r} lies beside the splits: its {count} pictures are left out."
        self.say("warning", "folder_left_out", message, images=[folder], remedy=STATED)

    def say_labels_like_splits(self, names: list[str]) -> None:
        said = ", ".join(map(repr, names))
        message = f"{said} {'is' if len(names) == 1 else 'are'} taken for labels, though called like splits."
        self.say("warning", "labels_like_splits", message, labels=names, remedy=STATED)
