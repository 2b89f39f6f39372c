"""Words by which people call the parts of a data set."""

import re
from typing import Final

from services.contract.contents import Split

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


def split_of(name: str) -> Split | None:
    """That a folder's name is the word of, exactly."""
    word = re.fullmatch(WORD, name.strip().lower())
    return WORDS[word[1]] if word else None


def named_splits(names: list[str]) -> dict[str, Split]:
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
