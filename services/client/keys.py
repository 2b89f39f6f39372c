"""`headway keys`: made, listed, revoked."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from services import keysfile
from services.client.terminal import console, fail
from services.contract.quota import Quota
from services.keysfile import KeysFileError, Right
from services.settings import settings

app = typer.Typer(no_args_is_help=True, help="API keys.")

File = Annotated[Path | None, typer.Option(help="HEADWAY_API_KEYS_FILE")]


@app.command()
def new(
    tenant: Annotated[
        str, typer.Option(help="whose key it is: its jobs and files are seen with this tenant's keys only")
    ],
    right: Annotated[
        list[Right] | None, typer.Option(help="read, submit or operate; read and submit if none is named")
    ] = None,
    days: Annotated[float | None, typer.Option(help="after which it is no longer taken", min=0)] = None,
    quota: Annotated[str | None, typer.Option(help='as JSON: {"queued_jobs": 100, "weight": 2}')] = None,
    file: File = None,
) -> None:
    """Make a key: printed once, its hash added to the keys file."""
    path = _file(file)
    if not re.match(keysfile.TENANT, tenant):
        fail(f"{tenant!r} is no tenant name: use lower-case letters, digits, - and _, 63 at most.")
    rights = frozenset(right or (Right.READ, Right.SUBMIT))
    expires_at = None if days is None else int(time.time() + days * 86400)
    try:
        limits = None if quota is None else Quota.model_validate_json(quota)
        key = keysfile.new_key(path, tenant, rights=rights, expires_at=expires_at, quota=limits)
    except ValidationError as error:
        problem = error.errors()[0]
        fail(f"--quota: {'.'.join(map(str, problem['loc']))} {problem['msg']}")
    except OSError as error:
        fail(f"The keys file {path} cannot be written ({error.strerror}).")
    print(key)
    Console(stderr=True).print(f"Keep it: it is not shown again. {path} holds its hash.", style="dim", soft_wrap=True)


@app.command("list")
def list_(file: File = None) -> None:
    """Each key by its id: whose it is, what it may, until when, and when it was last used."""
    path = _file(file)
    table, used = Table("key", "tenant", "rights", "made", "expires", "last used"), keysfile.last_used(path)
    for key in _read(path):
        rights = ", ".join(sorted(key.rights))
        table.add_row(
            key.id, key.tenant, rights, _day(key.created_at), _day(key.expires_at), _day(used.get(key.id), "never")
        )
    console.print(table)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="its id, as `list` shows it")], file: File = None) -> None:
    """Take a key back: it is refused from the next request on."""
    try:
        revoked = keysfile.revoke(_file(file), key)
    except KeysFileError as error:
        fail(str(error))
    except OSError as error:
        fail(f"The keys file cannot be written ({error.strerror}).")
    console.print(f"{revoked.id} of {revoked.tenant} is revoked.", highlight=False)


def _read(path: Path) -> list[keysfile.Key]:
    try:
        return keysfile.read_keys(path)
    except KeysFileError as error:
        fail(str(error))


def _file(file: Path | None) -> Path:
    path = file or settings().api_keys_file
    if path is None:
        fail("Which keys file? Set HEADWAY_API_KEYS_FILE, or give --file.")
    return path


def _day(at: int | None, otherwise: str = "") -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else otherwise
