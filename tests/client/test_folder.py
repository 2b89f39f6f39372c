"""A folder on this machine: read as the service reads it, packed with its links, and never in silence."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from services.client.folder import FolderError, names_in, packed, understood
from services.client.stack import Stack
from services.contract.layout import GUESSED, Layout
from services.datasets.listing import list_upload
from tests.client.test_command import headway
from tests.drawing import shapes, written


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_a_folder_is_read_as_its_upload_will_be(tmp_path: Path) -> None:
    files = {f"set/train/{path}": data for path, data in shapes(6).items()}
    files |= {"set/test/1.png": b"\x89PNG\r\n\x1a\n", "set/notes.txt": b"x", "set/.DS_Store": b"x"}
    folder, content = laid(tmp_path / "data", files), io.BytesIO()
    here = understood(folder, GUESSED)
    packed(folder, content)
    there = list_upload(written(tmp_path / "upload", content.getvalue()))
    assert here.contents == there.contents
    assert {finding.code for finding in here.report.findings} == {finding.code for finding in there.report.findings}


def test_a_class_folder_that_is_a_link_is_followed_and_a_circle_is_refused_by_name(tmp_path: Path) -> None:
    laid(tmp_path / "elsewhere", {"1.png": b"x"})
    folder = laid(tmp_path / "data", {"cat/1.png": b"x"})
    (folder / "dog").symlink_to(tmp_path / "elsewhere")
    assert names_in(folder) == ["cat/1.png", "dog/1.png"]
    (folder / "cat" / "again").symlink_to(folder)
    with pytest.raises(FolderError, match="again is a link to a folder that holds it"):
        names_in(folder)
    (folder / "cat" / "again").unlink()
    (folder / "cat" / "gone.png").symlink_to(folder / "nothing")
    with pytest.raises(FolderError, match=r"gone.png is a link to nothing"):
        names_in(folder)


def test_files_of_1970_are_packed(tmp_path: Path) -> None:
    folder, content = laid(tmp_path, {"a/1.png": b"x"}), io.BytesIO()
    os.utime(folder / "a/1.png", (0, 0))
    packed(folder, content)
    assert zipfile.ZipFile(content).namelist() == ["a/1.png"]


def test_a_table_in_a_folder_is_read(tmp_path: Path) -> None:
    folder = laid(tmp_path, {"labels.csv": b"path,label\n1.png,a\n2.png,b\n", "1.png": b"x", "2.png": b"y"})
    assert understood(folder, Layout()).contents.labels == {"train": {"a": 1, "b": 1}}


def test_what_was_understood_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    laid(tmp_path, shapes(2) | {"empty/notes.txt": b"x"})
    done = headway("train", str(tmp_path), "--url", "127.0.0.1:9")
    assert "train: 4 images of 2 labels (circle 2, square 2)" in done.stdout
    assert "hold no pictures, as 'empty'" in done.stdout
    assert "cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "nowhere/model.pt"], "its folder is not there"),
        (["--out", "."], "it is a folder"),
        (["--layout", "{"], "--layout"),
        (["--layout", '{"trian": "x"}'], "--layout: trian"),
        (["--layout", '{"train": "x"}'], "no folder 'x'"),
    ],
)
def test_what_is_wrong_is_said_before_the_upload(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    laid(tmp_path, shapes(1))
    done = headway("train", str(tmp_path), *arguments, "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.slow
def test_jobs_and_files_are_looked_at_followed_fetched_and_deleted(tmp_path: Path, the_stack: Stack) -> None:
    address = {"HEADWAY_URL": the_stack.url}
    done = headway("train", str(laid(tmp_path / "data", shapes(6))), "--n-epochs", "3", **address)
    assert done.returncode == 0, done.stderr
    job = next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("submitted"))
    narrow = headway("jobs", COLUMNS="80", **address)
    assert job in narrow.stdout
    assert job in headway("jobs", "--json", "--url", f"{the_stack.url}/v1").stdout
    assert "is ready: accuracy" in headway("watch", job, **address).stdout
    assert "Attempt 1 started" in headway("logs", job, **address).stdout
    model = tmp_path / "head.safetensors"
    assert headway("download", job, "--format", "safetensors", "--out", str(model), **address).returncode == 0
    assert model.stat().st_size > 1000
    refused = headway("pause", job, **address)
    assert (refused.returncode, "cannot be asked to pause" in refused.stderr) == (1, True)
    assert headway("delete", job, "--yes", **address).returncode == 0
    assert job not in headway("jobs", **address).stdout
    file = next(word for word in headway("files", **address).stdout.split() if word.startswith("file-"))
    assert headway("delete", file, "--yes", **address).returncode == 0
    assert file not in headway("files", **address).stdout


def test_no_line_that_is_piped_is_broken() -> None:
    done = headway("doctor", COLUMNS="40")
    assert all(line.startswith(("┏", "┃", "┡", "│", "└")) for line in done.stdout.splitlines())
