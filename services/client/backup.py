"""`headway backup` and `headway restore`: the store and the files of a data folder, copied while the service runs.

The store first, then the files: bytes are stored before the record that names them, so what the copied store knows of
is copied too, unless it was deleted in between. Features are left out: they can be computed again.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, Field, ValidationError

from services import __version__
from services.client.copies import (
    STAGE,
    Damaged,
    Staged,
    as_sums,
    copied,
    files_in,
    of_sums,
    progress,
    refuse_incomplete,
    remove,
    room_at,
)
from services.client.options import with_options
from services.client.stack import StackError, locked
from services.client.terminal import fail, print_plain
from services.located import is_remote
from services.settings import Settings, settings
from services.store.migration import VERSION

app = typer.Typer()

STORE, FILES, SUMS, NOTE = "valkey", "files", "SHA256SUMS", "backup.json"
APPENDED = "appendonlydir"  # Valkey's folder of what was appended
MANIFEST = "appendonly.aof.manifest"  # which names its files
TRIES = 100  # until the store was copied between two rewrites of its files

Folder = Annotated[Path, typer.Argument(help="of the backup")]
DataDir = Annotated[Path | None, typer.Option(help="where everything is kept (HEADWAY_DATA_DIR)")]


class Note(BaseModel):
    """What a backup is. Written last: without it, a backup was not finished."""

    headway: str
    records: int = Field(ge=1)  # the version that its records have at most
    made_at: int  # Unix time, s
    has_store: bool  # else it is on a Redis of the user's own
    has_files: bool  # else they are in a bucket
    bytes: int = Field(ge=0)
    sums: str  # SHA-256 of the list of all files


@app.command()
def backup(folder: Folder, data_dir: DataDir = None) -> None:
    """Copy the store and all files into a new folder, while the service runs."""
    config = with_options(settings(), data_dir=data_dir)
    os.umask(0o077)  # secrets of webhooks are in it
    with _sentences(f"no backup was made in {folder}"):
        _refuse_as_target(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_without_room(_size_of(config), folder)
        try:
            note = _copy_all(config, folder)
        except BaseException:  # also Ctrl-C: what is not whole is in nobody's way
            for child in folder.iterdir():
                remove(child)
            raise
    print_plain(f"{folder} is a backup of {note.bytes / 1e6:,.1f} MB; `headway restore {folder}` brings it back.")
    if not note.has_store:
        print_plain("It has no store: yours is at HEADWAY_REDIS_URL. Take its snapshot before the files.")
    if not note.has_files:
        print_plain(f"It has no files: they are in {config.files}. Keep versions of that bucket, or copy it.")


@app.command()
def restore(folder: Folder, data_dir: DataDir = None) -> None:
    """Bring a backup into an empty data folder. `headway up` goes on from there, with the jobs that ran."""
    config = with_options(settings(), data_dir=data_dir)
    os.umask(0o077)
    with _sentences(f"nothing was restored into {config.data_dir}"):
        note, sums = _read(folder)
        _refuse_elsewhere(note, config)
        for target in {config.data_dir, _files_of(config) or config.data_dir}:
            _refuse_without_room(note.bytes, target)
        config.data_dir.mkdir(parents=True, exist_ok=True)
        with locked(config.data_dir.absolute()):
            _refuse_what_is_there(config)
            _bring_back(folder, note, sums, config)
    print_plain(f"{config.data_dir} has {len(sums)} files of {note.bytes / 1e6:,.1f} MB, as they were.")
    if not note.has_store:
        print_plain("Its store is on your Redis: restore that one too, before you start.")
    if not note.has_files:
        print_plain(f"Its files are in {config.files}: see that they are there, before you start.")
    if note.has_store and note.has_files:
        print_plain("Start it with `headway up`.")


@contextmanager
def _sentences(otherwise: str) -> Iterator[None]:
    """What goes wrong ends the command, with what became of it."""
    try:
        yield
    except (Damaged, StackError) as error:
        fail(f"{str(error)[0].upper()}{str(error)[1:]}; {otherwise}.")
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        fail(f"{what}{error.strerror or error}; {otherwise}.")


def _files_of(config: Settings) -> Path | None:
    """Where they are a folder."""
    return None if is_remote(config.files) else config.files_dir


# --- backup --------------------------------------------------------------------------------------------------------


def _refuse_as_target(folder: Path, config: Settings) -> None:
    if folder.exists() and not folder.is_dir():
        fail(f"{folder} is a file: give a folder that is not there yet.")
    if folder.is_dir() and any(folder.iterdir()):
        fail(f"{folder} has something in it: give a folder that is not there yet.")
    files, target = _files_of(config), folder.absolute().resolve()
    for source in (files, None if config.redis_url else config.data_dir / STORE):
        if source is not None and target.is_relative_to(source.absolute().resolve()):
            fail(f"{folder} lies in {source}, which is to be copied: give a folder elsewhere.")
    if not config.redis_url and not (config.data_dir / STORE / APPENDED).is_dir():
        fail(f"{config.data_dir / STORE} has no store yet. Is this the data folder of `headway up` (--data-dir)?")
    if files is not None and not files.is_dir():
        fail(f"{files} is no folder of files. Set HEADWAY_FILES (or --data-dir) as the service has it.")


def _size_of(config: Settings) -> int:
    sources = [_files_of(config), None if config.redis_url else config.data_dir / STORE / APPENDED]
    return sum(found.size for source in sources if source for found in files_in(source))


def _copy_all(config: Settings, folder: Path) -> Note:
    sums: dict[str, str] = {}
    if not config.redis_url:
        sums |= _copy_store(config.data_dir / STORE / APPENDED, folder / STORE / APPENDED)
    files = _files_of(config)
    if files is not None:
        sums |= _copy_files(files, folder / FILES)
    listed = as_sums(sums.items())
    (folder / SUMS).write_text(listed)
    os.sync()  # the note says that all else is there
    note = Note(
        headway=__version__,
        records=VERSION,
        made_at=int(time.time()),
        has_store=not config.redis_url,
        has_files=files is not None,
        bytes=sum((folder / path).stat().st_size for path in sums),
        sums=hashlib.sha256(listed.encode()).hexdigest(),
    )
    (folder / NOTE).write_text(note.model_dump_json())
    os.sync()
    return note


def _copy_store(appended: Path, target: Path) -> dict[str, str]:
    """What was appended up to now, with its hashes. Valkey rewrites its files at times: then it is copied again."""
    for _ in range(TRIES):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with suppress(FileNotFoundError):
            before = (appended / MANIFEST).read_bytes()
            sums = {name: copied(appended / name, target / name, lambda _: None) for name in _named_in(before)}
            if (appended / MANIFEST).read_bytes() == before:
                (target / MANIFEST).write_bytes(before)
                sums[MANIFEST] = hashlib.sha256(before).hexdigest()
                return {f"{STORE}/{APPENDED}/{name}": digest for name, digest in sums.items()}
    fail(f"{appended} was rewritten at each try: try again.")


def _named_in(manifest: bytes) -> Iterator[str]:
    """Of `file NAME seq N type T`, a line each."""
    for line in manifest.decode().splitlines():
        yield line.split()[1]


def _copy_files(source: Path, target: Path) -> dict[str, str]:
    """With their hashes. Checkpoints first, as running jobs replace them; what is deleted meanwhile is left out."""
    found = sorted(files_in(source), key=lambda each: "checkpoints" not in each.path.split("/"))
    sums = {}
    with progress("files", sum(each.size for each in found)) as advance:
        for each in found:
            with suppress(FileNotFoundError):
                sums[f"{FILES}/{each.path}"] = copied(source / each.path, target / each.path, advance)
    return sums


# --- restore -------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> tuple[Note, dict[str, str]]:
    """What it says of itself, and the hashes of its files. Raises Damaged, OSError."""
    try:
        note = Note.model_validate_json((folder / NOTE).read_bytes())
    except FileNotFoundError:
        raise Damaged(f"{folder} is no backup, or was not finished: it has no {NOTE}") from None
    except ValidationError:
        raise Damaged(f"{folder / NOTE} cannot be read: it is damaged, or of another version") from None
    if note.records > VERSION:
        fail(
            f"This backup was made by Headway {note.headway}, whose records are newer: "
            "restore it with that version or a later one."
        )
    listed = (folder / SUMS).read_bytes() if (folder / SUMS).is_file() else b""
    if hashlib.sha256(listed).hexdigest() != note.sums:
        raise Damaged(f"{folder / SUMS} is not the list that this backup was made with")
    sums = of_sums(listed.decode())
    refuse_incomplete(folder, sums)
    return note, sums


def _refuse_elsewhere(note: Note, config: Settings) -> None:
    """Store and files go back to where they were, or it is said that they do not."""
    if note.has_store and config.redis_url:
        fail("This backup has a store, and HEADWAY_REDIS_URL names another: unset it, or restore that one by itself.")
    if not note.has_store and not config.redis_url:
        fail("This backup has no store, it was on a Redis of your own: restore that one, and set HEADWAY_REDIS_URL.")
    if note.has_files and _files_of(config) is None:
        fail(f"This backup has files, and HEADWAY_FILES is {config.files}: unset it, or copy {FILES}/ to that bucket.")
    if not note.has_files and _files_of(config) is not None:
        fail("This backup has no files, they were in a bucket: set HEADWAY_FILES to it, or to a copy of it.")


def _refuse_what_is_there(config: Settings) -> None:
    appended, files = config.data_dir / STORE / APPENDED, _files_of(config)
    if os.path.lexists(appended):
        fail(f"{appended} is there already: restore into an empty folder (--data-dir).")
    if files is not None and files.is_dir() and any(child.name != STAGE for child in files.iterdir()):
        fail(f"{files} has something in it already: restore into an empty folder (--data-dir, HEADWAY_FILES).")


def _bring_back(folder: Path, note: Note, sums: dict[str, str], config: Settings) -> None:
    """Files, then the store, without which a service begins with nothing. Raises Damaged, OSError."""
    files = _files_of(config)
    parts = [(FILES, Staged(files))] if files is not None else []
    parts += [(STORE, Staged(config.data_dir / STORE))] if note.has_store else []
    placed: list[Path] = []
    try:
        with progress("files", note.bytes) as advance:
            for name, staged in parts:
                staged.bring(folder / name, _below(name, sums), advance)
        os.sync()
        for _, staged in parts:
            placed += staged.put_in_place()
    except BaseException:
        for path in placed:
            remove(path)
        raise
    finally:
        for _, staged in parts:
            staged.drop()


def _below(name: str, sums: dict[str, str]) -> dict[str, str]:
    return {path.removeprefix(f"{name}/"): digest for path, digest in sums.items() if path.startswith(f"{name}/")}


def _refuse_without_room(needed: int, target: Path) -> None:
    if needed > (free := room_at(target)):
        fail(f"It takes {needed / 1e9:.1f} GB, and {target} has room for {free / 1e9:.1f} GB.")
