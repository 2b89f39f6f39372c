"""Who asks: a tenant by its key, or, where no keys are set, anyone who is on this machine.

The keys file holds a line of JSON a key: {"sha256": …, "tenant": …, "created_at": …}. Keys themselves are never kept.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from services.contract.addresses import name_of
from services.contract.errors import Forbidden, Unauthorized

log = logging.getLogger(__name__)

LOCAL_TENANT = "local"  # whose everything is where no keys are set
TENANT = r"^[a-z0-9][a-z0-9_-]{0,62}$"  # it stands in paths and in Redis keys


class Key(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    tenant: Annotated[str, StringConstraints(pattern=TENANT)]
    created_at: int = 0


class KeysFileError(ValueError):
    """The keys file cannot be used; the message names the line."""


@dataclass
class Keys:
    """The keys file, read again when it changes."""

    path: Path
    _stamp: tuple[int, int] | None = None
    _tenants: dict[str, str] = field(default_factory=dict)

    def tenant_of(self, key: str) -> str | None:
        digest = _digest(key)
        found = [tenant for known, tenant in self._read().items() if hmac.compare_digest(known, digest)]
        return found[0] if found else None

    def _read(self) -> dict[str, str]:
        """A file that is broken while we run leaves the keys as they were."""
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._stamp = stamp
                self._tenants = read_keys(self.path)
        except (OSError, KeysFileError) as error:
            log.error("the keys stay as they were: %s", error)
        return self._tenants


def read_keys(path: Path) -> dict[str, str]:
    """Tenants by the sha256 of their keys. Raises KeysFileError."""
    tenants = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"HEADWAY_API_KEYS_FILE cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                key = Key.model_validate_json(line)
            except ValidationError as error:
                raise KeysFileError(f"{path.name}, line {number}: {error.errors()[0]['msg']}.") from None
            tenants[key.sha256] = key.tenant
    return tenants


def new_key(path: Path, tenant: str) -> str:
    """A new key, of which only the hash is added to the file."""
    key = "hw-" + secrets.token_urlsafe(32)
    entry = Key(sha256=_digest(key), tenant=tenant, created_at=int(time.time()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("a") as file:
        file.write(json.dumps(entry.model_dump()) + "\n")
    return key


def tenant_by_key(keys: Keys, key: str | None) -> str:
    """Raises Unauthorized."""
    if not key:
        raise Unauthorized("No API key was given: send it as `Authorization: Bearer …`.")
    tenant = keys.tenant_of(key)
    if tenant is None:
        raise Unauthorized("The API key is not known here.")
    return tenant


def refuse_foreign_pages(headers: Mapping[str, str], names: Collection[str], origins: Collection[str]) -> None:
    """Without keys, a page in the user's browser must not reach us by a name of its own (DNS rebinding) or by a form.

    Raises Forbidden.
    """
    host = headers.get("host", "").lower()
    if name_of(host) not in names:
        raise Forbidden(
            "Without API keys this service answers only to localhost, 127.0.0.1 and [::1], "
            "and to the names in HEADWAY_HOSTS."
        )
    origin = headers.get("origin", "").lower()
    if origin and origin not in origins and origin.partition("://")[2] != host:
        raise Forbidden(
            "Without API keys this service takes nothing from other sites' pages but those in HEADWAY_CORS_ORIGINS."
        )


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
