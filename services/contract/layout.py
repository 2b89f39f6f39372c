"""What the folders of an archive mean, said by the user where guessing would be wrong."""

import hashlib
import re
from functools import lru_cache
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from services.contract.contents import Split

# The version of the rules by which archives are read: an index names it, so that older ones keep their meaning.
RULES: Final = 2

WILD: Final = {"{label}": r"(?P<label>[^/]+)", "{split}": r"(?P<split>[^/]+)", "*": r"[^/]*"}
MOST: Final = 16 * 1024  # bytes of JSON: it stands in each job

Place = Annotated[str, StringConstraints(max_length=4096)]
Places = Annotated[list[Place], Field(max_length=1000)]


class Layout(BaseModel):
    """Folders by their paths from the archive's top, "" being all of it. What is not said is guessed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: Places = Field([], description="the folder, or folders, whose pictures are trained on")
    val: Places = Field([], description="those that validate")
    test: Places = Field([], description="those that are held out for the evaluation")
    ignore: Places = Field([], description="folders and files that are left out")
    labels: Literal["first", "leaf"] = Field(
        "first", description='a picture\'s label: the "first" folder below its split, or the last, its "leaf"'
    )
    pattern: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        None, description='labels stand in file names: "{label}_*", or with folders "{split}/{label}.*.jpg"'
    )
    table: Place | None = Field(None, description="a CSV or JSON lines in the archive, with path and label of each")

    @field_validator("train", "val", "test", "ignore", mode="before")
    @classmethod
    def _one_or_many(cls, places: object) -> object:
        return [places] if isinstance(places, str) else places

    @field_validator("train", "val", "test", "ignore")
    @classmethod
    def _without_slashes(cls, places: list[str]) -> list[str]:
        return ["/".join(part for part in place.split("/") if part not in ("", ".")) for place in places]

    @field_validator("pattern")
    @classmethod
    def _pattern_names_the_label(cls, pattern: str | None) -> str | None:
        if pattern is not None and (pattern.count("{label}") != 1 or pattern.count("{split}") > 1):
            raise ValueError('it must hold "{label}" once, as in "{label}_*", and "{split}" once at most')
        return pattern

    @model_validator(mode="after")
    def _it_is_small(self) -> Self:
        if len(self.model_dump_json(exclude_defaults=True)) > MOST:
            raise ValueError(f"it has more than {MOST} bytes: name folders above, or give a table")
        return self

    @model_validator(mode="after")
    def _labels_come_from_one_place(self) -> Self:
        if self.table and (self.pattern or self.splits):
            raise ValueError("a table says it all: leave pattern, train, val and test out")
        return self

    @property
    def splits(self) -> dict[Split, list[str]]:
        """Those that are stated."""
        stated: dict[Split, list[str]] = {"train": self.train, "val": self.val, "test": self.test}
        return {split: places for split, places in stated.items() if places}

    @property
    def digest(self) -> str:
        """Of the rules and of what is stated: it names an index."""
        said = f"{RULES} {self.model_dump_json(exclude_defaults=True)}"
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def label_in_name(self, path: str) -> re.Match[str] | None:
        """What `pattern` finds in a path, or, where it has no folders, in a file's name."""
        assert self.pattern is not None
        subject = path if "/" in self.pattern else path.rpartition("/")[2]
        return _compiled(self.pattern).fullmatch(subject)


@lru_cache(maxsize=16)  # asked for each picture
def _compiled(pattern: str) -> re.Pattern[str]:
    """A label, or what `*` stands for, ends where what follows it comes first; nothing is tried twice, however long
    the name."""
    texts = re.split(r"\{label\}|\{split\}|\*+", pattern)
    wild = [WILD[found.rstrip("*") or "*"] for found in re.findall(r"\{label\}|\{split\}|\*+", pattern)]
    parts = [re.escape(texts[0])]
    for anything, then in zip(wild[:-1], texts[1:-1], strict=True):
        parts.append(f"(?>{anything.replace('+', '+?').replace('*', '*?')}{re.escape(then)})")
    return re.compile("".join([*parts, *wild[-1:], re.escape(texts[-1])]))


GUESSED: Final = Layout()
