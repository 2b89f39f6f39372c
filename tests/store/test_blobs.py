"""The store of bytes: the same of a folder and of a bucket; and what only a bucket can do to it."""

import io
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore

from services import located, objects
from services.contract.errors import DataUnreadable, FilesAway
from services.datasets import zips
from services.datasets.index import Archive, image_at, read_index, write_index
from services.datasets.listing import list_upload
from services.store.blobs import Blobs, blobs_at, refusal_to_keep
from tests.buckets import Bucket, bucket
from tests.drawing import png, shape, shapes, tarred, zipped


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 20, "retry_timeout": timedelta(seconds=1)})
    with bucket() as made:
        yield made


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    where = str(tmp_path / "files") if request.param == "folder" else request.getfixturevalue("s3").url
    return blobs_at(where)


def put_draft(blobs: Blobs, name: str, content: bytes) -> str:
    draft = blobs.new_draft("ann", name)
    with located.written(draft) as file:
        file.write(content)
    return draft


def test_what_is_put_is_there_until_it_is_deleted(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    blobs.put("ann/a", b"one")
    blobs.put("ann/a", b"other")
    blobs.put_file("ann/b", tmp_path / "source")
    assert (blobs.get("ann/a"), blobs.get("ann/b")) == (b"other", b"from a file")
    assert located.read_all(blobs.where("ann/b")) == b"from a file"
    assert located.size_of(blobs.where("ann/a")) == 5
    blobs.delete("ann/a")
    blobs.delete("ann/a")
    for look in (blobs.get, blobs.where):
        with pytest.raises(FileNotFoundError):
            look("ann/a")


def test_places_are_found_by_how_they_begin(blobs: Blobs) -> None:
    names = ["ab", "ab.index", "ab.tar", "abc", "aa", "b"]
    for name in names:
        blobs.put(f"ann/files/{name}", b"")
    assert blobs.beginning_with("ann/files/ab") == [f"ann/files/{name}" for name in names[:4]]
    assert blobs.beginning_with("ann/files/zz") == blobs.beginning_with("bob/files/a") == []


def test_a_draft_takes_its_place_or_goes_with_all_beside_it(blobs: Blobs) -> None:
    blobs.adopt("ann/files/x", put_draft(blobs, "one", b"1"))
    blobs.adopt("ann/files/x", put_draft(blobs, "two", b"2"), anew=False)
    assert blobs.get("ann/files/x") == b"1"
    blobs.adopt("ann/files/x", put_draft(blobs, "three", b"3"))
    assert blobs.get("ann/files/x") == b"3"
    draft = put_draft(blobs, "four", b"4")
    put_draft(blobs, "four.tar", b"5")
    put_draft(blobs, "others", b"6")
    blobs.drop_draft(draft)
    assert blobs.beginning_with("ann/incoming/f") == []
    assert blobs.beginning_with("ann/incoming/o") == ["ann/incoming/others"]


def test_folders_go_as_a_whole(blobs: Blobs) -> None:
    for place in ("j/1/a", "j/1/b", "j/2/a", "j/22/a", "jj/a"):
        blobs.put(f"ann/models/{place}", b"")
    blobs.keep_only("ann/models/j", "2")
    assert blobs.get("ann/models/j/2/a") == b""
    with pytest.raises(FileNotFoundError):
        blobs.get("ann/models/j/22/a")
    blobs.delete_folder("ann/models/j")
    blobs.delete_folder("ann/models/j")
    assert blobs.get("ann/models/jj/a") == b""
    for place in ("j/1/a", "j/2/a"):
        with pytest.raises(FileNotFoundError):
            blobs.get(f"ann/models/{place}")


def test_old_drafts_are_swept_and_nothing_else(blobs: Blobs) -> None:
    put_draft(blobs, "draft", b"")
    blobs.put("ann/shared/job/1/plan", b"")
    blobs.put("bob/files/x", b"")
    blobs.sweep_drafts(older_than=3600)
    assert blobs.beginning_with("ann/incoming/d") == ["ann/incoming/draft"]
    blobs.sweep_drafts(older_than=-3600)
    assert blobs.beginning_with("ann/incoming/d") == []
    with pytest.raises(FileNotFoundError):
        blobs.get("ann/shared/job/1/plan")
    assert blobs.get("bob/files/x") == b""


def test_what_is_larger_than_a_piece_is_the_same_again(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PIECE", 5 * 1024**2)
    content = os.urandom(12_000_000)
    draft = blobs.new_draft("ann", "draft")
    with located.written(draft) as file:
        for at in range(0, len(content), 70_001):
            assert file.write(content[at : at + 70_001]) == len(content[at : at + 70_001])
    monkeypatch.setattr(objects, "MOST_COPIED", 1_000_000)
    blobs.adopt("ann/x", draft)
    assert blobs.get("ann/x") == content
    with located.opened(blobs.where("ann/x"), 65_536) as reader:
        for at, whence in [(11_999_990, io.SEEK_SET), (-20, io.SEEK_END), (5, io.SEEK_SET), (70_000, io.SEEK_CUR)]:
            position = reader.seek(at, whence)
            assert reader.tell() == position
            assert reader.read(100) == content[position : position + 100]


def test_what_is_left_by_an_exception_is_not_there(s3: Bucket) -> None:
    with pytest.raises(KeyError), objects.written(f"{s3.url}/x") as file:
        file.write(b"half")
        raise KeyError
    assert s3.keys == []


@pytest.mark.parametrize(
    "packed", [zipped, lambda files: tarred(files, "w"), lambda files: tarred(files, "w:gz")], ids=["zip", "tar", "gz"]
)
def test_an_archive_in_a_bucket_is_listed_and_read_as_a_local_one(
    packed: Callable[[dict[str, bytes]], bytes], s3: Bucket, tmp_path: Path
) -> None:
    files = shapes(5)
    (tmp_path / "data").write_bytes(packed(files))
    objects.write_all(f"{s3.url}/data", packed(files))
    here, there = list_upload(tmp_path / "data"), list_upload(f"{s3.url}/data")
    assert there.images == here.images
    assert there.report == here.report
    write_index(there.images, f"{s3.url}/index")
    assert list(read_index(f"{s3.url}/index")) == here.images
    assert image_at(f"{s3.url}/index", here.images[3].path) == here.images[3]
    archive = Archive(there.data)
    assert {image.path: archive.read(image) for image in here.images} == files


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_store_that_refuses_for_a_while_is_asked_again(s3: Bucket) -> None:
    blobs = blobs_at(s3.url)
    s3.refuses = 3
    blobs.put("ann/x", b"1" * 1000)
    s3.refuses = 3
    assert blobs.get("ann/x") == b"1" * 1000


def test_an_answer_that_is_cut_is_asked_for_again(s3: Bucket) -> None:
    content = os.urandom(300_000)
    objects.write_all(f"{s3.url}/x", content)
    s3.cuts = 2
    assert objects.read_range(f"{s3.url}/x", 1000, 200_000) == content[1000:201_000]
    s3.cuts = 1
    with objects.opened(f"{s3.url}/x", 100_000) as reader:
        assert reader.read() == content


def test_a_store_that_is_away_or_does_not_exist_says_so(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.refuses = float("inf")
    blobs = blobs_at(s3.url)
    for look in (
        lambda: blobs.get("ann/x"),
        lambda: blobs.put("ann/x", b""),
        lambda: put_draft(blobs, "x", b""),
        lambda: blobs.beginning_with("ann/x"),
        lambda: blobs.delete("ann/x"),
    ):
        with pytest.raises(FilesAway):
            look()
    s3.refuses = 0
    with pytest.raises(FilesAway, match="no such bucket"):
        blobs_at("s3://another/folder").get("ann/x")


def test_a_listing_that_lags_hides_nothing_that_is_asked_for_by_name(s3: Bucket) -> None:
    blobs = blobs_at(s3.url)
    s3.lists_nothing = True
    blobs.adopt("ann/files/x", put_draft(blobs, "draft", b"1"))
    assert blobs.get("ann/files/x") == b"1"
    blobs.delete("ann/files/x")
    s3.lists_nothing = False
    assert s3.keys == []


def test_a_bucket_that_is_not_there_or_not_ours_refuses_the_start(s3: Bucket) -> None:
    assert refusal_to_keep(s3.url) is None
    assert "no such bucket" in (refusal_to_keep("s3://another") or "")
    s3.denies = True
    assert "refuses our keys" in (refusal_to_keep(s3.url) or "")
    s3.denies, s3.refuses = False, float("inf")
    assert refusal_to_keep(s3.url) is None  # it may come back


@pytest.mark.parametrize(
    ("url", "name", "value"),
    [
        ("az://container/folder", "AZURE_STORAGE_ACCOUNT_NAME", None),
        ("gs://bucket/folder", "GOOGLE_SERVICE_ACCOUNT", "/nowhere"),
        ("s3://bucket/folder", "AWS_ALLOW_HTTP", None),
    ],
)
def test_an_environment_that_cannot_be_refuses_the_start(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch, url: str, name: str, value: str | None
) -> None:
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    objects._bucket.cache_clear()
    assert "What the environment says" in (refusal_to_keep(url) or "")


def test_keys_that_are_refused_for_a_while_are_no_fault_of_the_data(s3: Bucket, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(zipped(shapes(2)))
    image = list_upload(tmp_path / "data").images[0]
    objects.write_all(f"{s3.url}/data", tmp_path / "data")
    archive = Archive(f"{s3.url}/data")
    s3.denies = True
    with pytest.raises(FilesAway, match="refuses our keys") as refused:
        archive.read(image)
    assert "127.0.0.1" not in str(refused.value.strerror)
    with pytest.raises(FilesAway):
        Archive(f"{s3.url}/data")
    s3.denies = False
    objects.delete([f"{s3.url}/data"])
    with pytest.raises(DataUnreadable):
        archive.read(image)


def test_what_is_deleted_is_gone_though_others_were_faster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a store that deletes key by key, and stops at one that is not there."""
    store = LocalStore(tmp_path)
    monkeypatch.setattr(objects, "_found", lambda url: (store, url.rpartition("/")[2]))
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    objects.delete([f"gs://bucket/{name}" for name in ("missing", "a", "b", "gone", "c")])
    assert list(tmp_path.iterdir()) == []


def test_a_zip_whose_directory_is_shuffled_is_read_once(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(zipped({f"{'ab'[i % 2]}/{i:02d}.png": png(shape("circle", i)) for i in range(40)}))
    with zipfile.ZipFile(content, "a") as archive:
        random.Random(0).shuffle(archive.filelist)
        archive.writestr("more.txt", "")  # so that the directory is written anew
    objects.write_all(f"{s3.url}/data", content.getvalue())
    read: list[int] = []
    real = objects.read_range

    def counted(url: str, start: int, length: int) -> bytes:
        read.append(length)
        return real(url, start, length)

    monkeypatch.setattr(objects, "read_range", counted)
    monkeypatch.setattr(located, "opened", lambda where, piece=4096: objects.opened(where, 4096))
    monkeypatch.setattr(zips, "opened", lambda where: objects.opened(where, 4096))
    assert len(list_upload(f"{s3.url}/data").images) == 40
    assert sum(read) < 2 * len(content.getvalue()) + 100_000
