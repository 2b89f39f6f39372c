"""`headway backup` and `headway restore`: the store and the files of a data folder, copied while the service runs.

The store first, then the files: bytes are stored before the record that names them, so what the copied store knows of
is copied too, unless it was deleted in between. Features are left out: they can be computed again.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ValidationError
from rich.progress import Progress

from services import __version__
from services.client.options import with_options
from services.client.stack import StackError, locked
from services.client.terminal import console, fail
from services.located import is_remote
from services.settings import Settings, settings
from services.store import places
from services.store.migration import VERSION

app = typer.Typer()

STORE, FILES, NOTE = "valkey", "files", "backup.json"
APPENDED = "appendonlydir"  # Valkey's folder of what was appended, a manifest among it
TRIES = 100  # until the store was copied between two rewrites of its files

Folder = Annotated[Path, typer.Argument(help="of the backup")]
DataDir = Annotated[Path | None, typer.Option(help="where everything is kept (HEADWAY_DATA_DIR)")]


class Note(BaseModel):
    """What a backup is. Written last: without it, a backup was not finished."""

    headway: str
    records: int  # the version that its job records have at most
    made_at: int  # Unix time, s
    has_store: bool  # else it is on a Redis of the user's own


@app.command()
def backup(folder: Folder, data_dir: DataDir = None) -> None:
    """Copy the store and all files into a new folder, while the service runs."""
    config = with_options(settings(), data_dir=data_dir)
    if folder.exists() and any(folder.iterdir()):
        fail(f"{folder} has something in it: give a folder that is not there yet.")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not config.redis_url:
        _copy_store(config.data_dir / STORE, folder / STORE)
    files = _files_of(config)
    if files is not None and files.is_dir():
        _refuse_without_room(files, folder)
        _copy_files(files, folder / FILES, "files")
    note = Note(headway=__version__, records=VERSION, made_at=int(time.time()), has_store=not config.redis_url)
    (folder / NOTE).write_text(note.model_dump_json())
    console.print(f"{folder} is a backup; `headway restore {folder}` brings it back.", highlight=False, soft_wrap=True)
    if config.redis_url:
        console.print("It has no store: yours is at HEADWAY_REDIS_URL. Take its snapshot before the files.")
    if files is None:
        console.print(f"It has no files: they are in {config.files}. Keep versions of that bucket, or copy it.")


@app.command()
def restore(folder: Folder, data_dir: DataDir = None) -> None:
    """Bring a backup into an empty data folder. `headway up` goes on from there, with the jobs that ran."""
    config = with_options(settings(), data_dir=data_dir)
    note = _note_of(folder)
    if note.has_store and config.redis_url:
        fail("This backup has a store, and HEADWAY_REDIS_URL names another: unset it, or restore that one by itself.")
    _refuse_what_is_there(config)
    config.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with locked(config.data_dir.absolute()):
            if note.has_store:
                _copy_files(folder / STORE, config.data_dir / STORE, "store")
            files = _files_of(config)
            if files is not None and (folder / FILES).is_dir():
                _copy_files(folder / FILES, files, "files")
    except StackError as error:
        fail(str(error))
    console.print(f"{config.data_dir} is as it was; start it with `headway up`.", highlight=False, soft_wrap=True)


def _files_of(config: Settings) -> Path | None:
    """Where they are a folder."""
    return None if is_remote(config.files) else config.files_dir


def _note_of(folder: Path) -> Note:
    try:
        note = Note.model_validate_json((folder / NOTE).read_bytes())
    except OSError:
        fail(f"{folder} is no backup, or was not finished: it has no {NOTE}.")
    except ValidationError:
        fail(f"{folder / NOTE} cannot be read.")
    if note.records > VERSION:
        fail(
            f"This backup was made by Headway {note.headway}, whose records are newer: "
            "restore it with that version or a later one."
        )
    return note


def _refuse_what_is_there(config: Settings) -> None:
    for there in (config.data_dir / STORE / APPENDED, _files_of(config)):
        if there is not None and there.is_dir() and any(there.iterdir()):
            fail(f"{there} has something in it already: restore into an empty folder (--data-dir).")


# --- copying -------------------------------------------------------------------------------------------------------


def _copy_store(store: Path, target: Path) -> None:
    """What was appended up to now. Valkey rewrites its files at times: then it is copied again."""
    appended = store / APPENDED
    for _ in range(TRIES):
        if not appended.is_dir():
            fail(f"{store} has no store yet. Is this the data folder that `headway up` uses (--data-dir)?")
        shutil.rmtree(target, ignore_errors=True)
        (target / APPENDED).mkdir(parents=True)
        before = _manifest(appended)
        with suppress(FileNotFoundError):
            for name in _named_in(before):
                shutil.copyfile(appended / name, target / APPENDED / name)
            if _manifest(appended) == before:
                for path in appended.glob("*.manifest"):
                    (target / APPENDED / path.name).write_text(before)
                return
    fail(f"{store} was rewritten at each try: try again.")


def _manifest(appended: Path) -> str:
    return "".join(path.read_text() for path in sorted(appended.glob("*.manifest")))


def _named_in(manifest: str) -> Iterator[str]:
    """Of `file NAME seq N type T`, a line each."""
    for line in manifest.splitlines():
        yield line.split()[1]


def _copy_files(source: Path, target: Path, what: str) -> None:
    """All but what is still coming in; what is deleted meanwhile is left out."""
    paths = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    with Progress(console=console, transient=True) as bar:
        for path in bar.track([path for path in paths if places.INCOMING not in path.parts], description=what):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copy2(source / path, target / path)


def _refuse_without_room(source: Path, target: Path) -> None:
    needed = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    free = shutil.disk_usage(target).free
    if needed > free:
        fail(f"The files have {needed / 1e9:.1f} GB, and {target} has room for {free / 1e9:.1f} GB.")
