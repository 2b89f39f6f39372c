"""Who asks: a tenant by its key, or, where no keys are set, anyone who is on this machine."""

import hmac
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.contract.addresses import name_of
from services.contract.errors import Forbidden, Unauthorized
from services.contract.quota import Quota
from services.keysfile import Key, KeysFileError, Right, digest_of, note_use, read_keys

log = logging.getLogger(__name__)

LOCAL_TENANT = "local"  # whose everything is where no keys are set


@dataclass(frozen=True)
class Caller:
    """Who asks, and what it may."""

    tenant: str
    rights: frozenset[Right]
    quota: Quota

    def demand(self, right: Right) -> None:
        """Raises Forbidden."""
        if right not in self.rights:
            raise Forbidden(f"This key does not give the right to {right}: it has {', '.join(sorted(self.rights))}.")


@dataclass
class Keys:
    """The keys file, read again when it changes."""

    path: Path
    _stamp: tuple[int, int] | None = None
    _known: dict[str, Key] = field(default_factory=dict)
    _noted: dict[str, int] = field(default_factory=dict)  # in which minute a key's use was noted last

    def of(self, key: str) -> Key | None:
        digest = digest_of(key)
        found = [entry for known, entry in self._read().items() if hmac.compare_digest(known, digest)]
        if found:
            self._is_used(found[0])
        return found[0] if found else None

    def _is_used(self, key: Key) -> None:
        """Noted once a minute, for `headway keys list`; where that cannot be written, it is not."""
        now = int(time.time())
        if self._noted.get(key.id) != now // 60:
            self._noted[key.id] = now // 60
            with suppress(OSError):
                note_use(self.path, key, now)

    def _read(self) -> dict[str, Key]:
        """A file that is broken while we run leaves the keys as they were."""
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._stamp = stamp
                self._known = {key.sha256: key for key in read_keys(self.path)}
        except (OSError, KeysFileError) as error:
            log.error("the keys stay as they were: %s", error)
        return self._known


def caller_of(keys: Keys, key: str | None, default: Quota) -> Caller:
    """Raises Unauthorized."""
    if not key:
        raise Unauthorized("No API key was given: send it as `Authorization: Bearer …`.")
    known = keys.of(key)
    if known is None:
        raise Unauthorized("The API key is not known here.")
    if known.expires_at is not None and known.expires_at <= time.time():
        raise Unauthorized("The API key has expired.")
    return Caller(known.tenant, known.rights, known.quota or default)


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
