"""The keys file: a line of JSON a key. Keys themselves are never kept, only their hashes.

Beside it lie `….used`, when each key was last used, and `….audit`, who made and revoked which.
"""

import getpass
import hashlib
import json
import os
import secrets
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from services.contract.quota import Quota

TENANT = r"^[a-z0-9][a-z0-9_-]{0,62}$"  # it stands in paths and in Redis keys


class Right(StrEnum):
    READ = "read"  # look at what is the tenant's, and at the fleet
    SUBMIT = "submit"  # upload, submit, wish, delete
    OPERATE = "operate"  # drain workers, which all tenants share


class Key(BaseModel):
    """A line of the keys file."""

    model_config = ConfigDict(extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    tenant: Annotated[str, StringConstraints(pattern=TENANT)]
    created_at: int = 0
    expires_at: int | None = None
    rights: frozenset[Right] = frozenset({Right.READ, Right.SUBMIT})
    quota: Quota | None = None

    @property
    def id(self) -> str:
        """By which people name it."""
        return self.sha256[:12]


class KeysFileError(ValueError):
    """The keys file cannot be used; the message names the line."""


def read_keys(path: Path) -> list[Key]:
    """Raises KeysFileError."""
    found = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"HEADWAY_API_KEYS_FILE cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(Key.model_validate_json(line))
            except ValidationError as error:
                raise KeysFileError(f"{path.name}, line {number}: {error.errors()[0]['msg']}.") from None
    return found


def new_key(path: Path, tenant: str, **more: Any) -> str:
    """A new key, of which only the hash is added to the file. `more`: other fields of `Key`."""
    key = "hw-" + secrets.token_urlsafe(32)
    entry = Key(sha256=digest_of(key), tenant=tenant, created_at=int(time.time()), **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("a") as file:
        file.write(entry.model_dump_json(exclude_none=True) + "\n")
    _note_change(path, "new", entry)
    return key


def revoke(path: Path, id: str) -> Key:
    """Takes a key back, by what its id begins with. Raises KeysFileError where that names none, or several."""
    found = [key for key in read_keys(path) if key.sha256.startswith(id)] if len(id) >= 6 else []
    if len(found) != 1:
        raise KeysFileError(f"{len(found) or 'No'} keys are named {id!r}: see `headway keys list`.")
    kept = [line for line in path.read_text().splitlines() if found[0].sha256 not in line]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text("".join(f"{line}\n" for line in kept))
    draft.replace(path)
    _note_change(path, "revoked", found[0])
    return found[0]


def last_used(path: Path) -> dict[str, int]:
    """Unix time, s, by key id."""
    try:
        known: dict[str, int] = json.loads(path.with_name(path.name + ".used").read_text())
        return known
    except (OSError, ValueError):
        return {}


def note_use(path: Path, key: Key, at: int) -> None:
    """Raises OSError."""
    noted = path.with_name(path.name + ".used")
    draft = noted.with_name(f".{noted.name}.{os.getpid()}")
    draft.write_text(json.dumps(last_used(path) | {key.id: at}))
    draft.replace(noted)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _note_change(path: Path, did: str, key: Key) -> None:
    line = {"at": int(time.time()), "by": _user(), "did": did, "key": key.id, "tenant": key.tenant}
    with path.with_name(path.name + ".audit").open("a") as audit:
        audit.write(json.dumps(line | {"rights": sorted(key.rights)}) + "\n")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's number without a name
        return str(os.getuid())
