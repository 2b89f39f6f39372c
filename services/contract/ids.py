"""Names that sort by the time they were given: a prefix and 26 characters of Crockford's base 32 (a ULID)."""

import re
import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID = re.compile(rf"(ftjob|file|upload|part)-[{ALPHABET}]{{26}}")


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


def job_of_model(model: str) -> str:
    return "ftjob-" + model.rpartition(":")[2]
