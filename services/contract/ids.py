"""Names that sort by the time they were given: a prefix and 26 characters of Crockford's base 32 (a ULID)."""

import re
import secrets
import time
from dataclasses import dataclass

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID = re.compile(rf"(ftjob|file|upload|part|wh)-[{ALPHABET}]{{26}}|whd-[{ALPHABET}]{{26}}-[{ALPHABET}]{{26}}")
MODEL = re.compile(
    rf"ft:resnet18:(?P<suffix>[A-Za-z0-9._-]{{0,64}}):(?P<ulid>[{ALPHABET}]{{26}})(:step-(?P<step>[0-9]{{1,12}}))?"
)


def new_id(prefix: str) -> str:
    """`prefix-` and a ULID: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}-" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form of such an id. What has not must never become part of a key."""
    return ID.fullmatch(text) is not None and text.startswith(prefix + "-")


def checkpoint_id(job: str, number: int) -> str:
    return f"ftckpt-{job.removeprefix('ftjob-')}-{number}"


def checkpoint_number(checkpoint: str, job: str) -> int | None:
    """The checkpoint's number within `job`, or None where the name is another job's or no name at all."""
    ulid, _, number = checkpoint.removeprefix("ftckpt-").rpartition("-")
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    return int(number) if f"ftjob-{ulid}" == job and is_number else None


def model_id(job: str, suffix: str | None) -> str:
    """OpenAI's form, `ft:base:owner:suffix:id`, with what we have: `ft:resnet18:suffix:ulid`."""
    return ":".join(["ft", "resnet18", suffix or "", job.removeprefix("ftjob-")])


@dataclass(frozen=True)
class ModelName:
    """`ft:resnet18:suffix:ulid`, or `ft:resnet18:suffix:ulid:step-N` of a checkpoint."""

    job: str
    suffix: str
    step: int | None


def model_named(text: str) -> ModelName | None:
    """None where it has not the form of such a name."""
    found = MODEL.fullmatch(text)
    return found and ModelName(f"ftjob-{found['ulid']}", found["suffix"], int(found["step"]) if found["step"] else None)


def checkpoint_model_id(job: str, suffix: str | None, step: int) -> str:
    return f"{model_id(job, suffix)}:step-{step}"
