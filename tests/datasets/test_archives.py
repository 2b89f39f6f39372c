"""Archives, good and bad: what is listed, what is refused and how it is said."""

import gzip
import io
import random
import re
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from services.contract.errors import InvalidArchive
from services.datasets import archives, listing
from services.datasets.index import DEFLATED, IndexedImage, contents
from services.datasets.listing import list_archive
from tests.drawing import png, shape, shapes, tarred, written, zipped

IMAGES = shapes(2)


def images_of(path: Path) -> list[IndexedImage]:
    return list_archive(path).images


def read_back(data: Path, image: IndexedImage) -> bytes:
    raw = data.read_bytes()[image.offset : image.offset + image.stored]
    return zlib.decompress(raw, wbits=-15) if image.method == DEFLATED else raw


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(InvalidArchive) as error:
        list_archive(written(tmp_path / "upload", content))
    assert error.value.param == "file"
    return error.value.message


@pytest.mark.parametrize(
    "content",
    [zipped(IMAGES), zipped(IMAGES, zipfile.ZIP_DEFLATED), tarred(IMAGES), tarred(IMAGES, "w:gz")],
    ids=["zip", "deflated zip", "tar", "tar.gz"],
)
def test_every_kind_lists_the_same_images_by_path_and_where_their_bytes_lie(tmp_path: Path, content: bytes) -> None:
    listed = list_archive(written(tmp_path / "upload", content))
    assert [image.path for image in listed.images] == sorted(IMAGES)
    assert [image.label for image in listed.images] == ["circle", "circle", "square", "square"]
    assert {image.path: read_back(listed.data, image) for image in listed.images} == IMAGES


def test_splits_are_folders_above_the_labels(tmp_path: Path) -> None:
    files = {f"{split}/{path}": data for split in ("train", "val", "test") for path, data in IMAGES.items()}
    listed = contents(images_of(written(tmp_path / "upload", zipped(files))), 0)
    each = {"circle": 2, "square": 2}
    assert listed.labels == {"train": each, "val": each, "test": each}


def test_labels_that_are_called_like_splits_stay_labels_where_others_are_not(tmp_path: Path) -> None:
    files = {"train/1.png": b"x", "bus/1.png": b"y"}
    assert {i.label for i in images_of(written(tmp_path / "upload", zipped(files)))} == {"train", "bus"}


def test_a_folder_around_everything_is_no_label(tmp_path: Path) -> None:
    files = {f"my-data/v1/{path}": data for path, data in IMAGES.items()}
    assert {i.label for i in images_of(written(tmp_path / "upload", zipped(files)))} == {"circle", "square"}


def test_what_systems_leave_behind_is_ignored_and_counted(tmp_path: Path) -> None:
    junk = {"__MACOSX/circle/._0.png": b"x", "circle/.DS_Store": b"x", "square/Thumbs.db": b"x", "README.md": b"x"}
    listed = list_archive(written(tmp_path / "upload", zipped(IMAGES | junk)))
    assert len(listed.images) == 4
    assert listed.ignored == 4


def test_the_same_bytes_have_the_same_hash_wherever_they_lie(tmp_path: Path) -> None:
    files = {"a/1.png": png(shape("circle", 1)), "b/2.png": png(shape("circle", 1))}
    first, second = images_of(written(tmp_path / "upload", zipped(files)))
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/passwd", "C:/evil.png", "a\\..\\evil.png"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_name_that_climbs_out_refuses_the_archive(tmp_path: Path, name: str, pack: object) -> None:
    content = pack(IMAGES | {name: b"x"})  # type: ignore[operator]
    assert "not a plain relative path" in refused(tmp_path, content)
    assert {path.name for path in tmp_path.rglob("*")} == {"upload"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_special_files_in_a_tar_refuse_it(tmp_path: Path, kind: bytes) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("circle/link.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    assert "'circle/link.png' is a link or a special file" in refused(tmp_path, content.getvalue())


def test_a_link_in_a_zip_refuses_it(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        link = zipfile.ZipInfo("circle/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "is a link or a special file" in refused(tmp_path, content.getvalue())


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    bomb = bytes(50_000_000)
    assert "bomb" in refused(tmp_path, zipped({"a/1.png": bomb}, zipfile.ZIP_DEFLATED))
    assert "bomb" in refused(tmp_path, tarred({"a/1.png": bomb}, "w:gz"))


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    for pack in (zipped, tarred):
        assert "at most 3" in refused(tmp_path, pack(IMAGES))


def test_an_archive_without_images_says_what_it_should_hold(tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path, zipped({}))
    assert "is empty" in refused(tmp_path, tarred({}))
    assert "label/image.png" in refused(tmp_path, zipped({"1.png": b"x", "2.png": b"y"}))


@pytest.mark.parametrize("content", [b"", b"hello", png(shape("circle", 0)), gzip.compress(b"hello" * 1000, mtime=0)])
def test_what_is_no_archive_says_so(tmp_path: Path, content: bytes) -> None:
    assert "not a zip, tar or tar.gz" in refused(tmp_path, content)


@pytest.mark.parametrize("pack", [zipped, tarred, lambda files: tarred(files, "w:gz")])
def test_a_cut_archive_is_refused_wherever_it_was_cut(tmp_path: Path, pack: object) -> None:
    noise = random.Random(0)
    whole = pack({f"{label}/{i}.png": noise.randbytes(20_000) for label in "ab" for i in range(3)})  # type: ignore[operator]
    for share in (0.2, 0.5, 0.8):
        assert "cut off" in refused(tmp_path, whole[: int(len(whole) * share)])


def test_a_tar_cut_between_two_entries_is_refused(tmp_path: Path) -> None:
    whole = tarred(IMAGES)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        second = archive.getmembers()[1]
    assert "its end is missing" in refused(tmp_path, whole[: second.offset])


def test_a_zip_whose_bytes_were_damaged_is_refused(tmp_path: Path) -> None:
    whole = bytearray(zipped(IMAGES))
    whole[60] ^= 0xFF
    assert "damaged" in refused(tmp_path, bytes(whole))


def test_an_encrypted_zip_says_so(tmp_path: Path) -> None:
    whole = bytearray(zipped({"circle/1.png": b"x"}))
    directory = whole.index(b"PK\x01\x02")
    whole[6] |= 1
    whole[directory + 8] |= 1
    assert "encrypted" in refused(tmp_path, bytes(whole))


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("circle/1.png"))
    assert "twice" in refused(tmp_path, content.getvalue())


def test_a_tar_with_a_damaged_header_in_its_middle_is_refused(tmp_path: Path) -> None:
    whole = bytearray(tarred(shapes(10)))
    with tarfile.open(fileobj=io.BytesIO(bytes(whole))) as archive:
        tenth = archive.getmembers()[9]
    whole[tenth.offset + 5] ^= 0xFF
    assert "damaged" in refused(tmp_path, bytes(whole))


def test_folders_count_as_entries_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 10)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in range(11):
            folder = tarfile.TarInfo(f"folder-{number}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
    assert "at most 10" in refused(tmp_path, content.getvalue())


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    content = tarred({"cafX/1.png": b"x"}).replace(b"cafX", b"caf\xe9")
    fixed = bytearray(content)
    checksum = sum(fixed[:148]) + 8 * 32 + sum(fixed[156:512])
    fixed[148:156] = b"%06o\0 " % checksum
    assert "UTF-8" in refused(tmp_path, bytes(fixed))


def test_names_in_any_script_are_taken(tmp_path: Path) -> None:
    files = {"貓/1.png": b"x", "chien é/photo\u202f2.png": b"y"}
    for pack in (zipped, tarred):
        assert {i.label for i in images_of(written(tmp_path / "upload", pack(files)))} == {"貓", "chien é"}


@pytest.mark.parametrize("offset", [4, 6, 8])
def test_a_zip_of_another_kind_is_refused_and_not_an_error_of_ours(tmp_path: Path, offset: int) -> None:
    """Version needed, flags, method: in the local header and in the directory, which has them two bytes on."""
    whole = bytearray(zipped({"circle/1.png": b"x"}))
    directory = whole.index(b"PK\x01\x02")
    whole[offset] = whole[directory + offset + 2] = 0x63
    assert refused(tmp_path, bytes(whole))


def test_a_directory_that_points_outside_is_refused(tmp_path: Path) -> None:
    whole = bytearray(zipped({"circle/1.png": b"x"}))
    end = whole.index(b"PK\x05\x06")
    for position in range(end + 4, end + 22):
        harmed = bytearray(whole)
        harmed[position] ^= 0xFF
        try:
            list_archive(written(tmp_path / "upload", bytes(harmed)))
        except InvalidArchive:
            continue


def test_other_compressions_say_which_are_taken(tmp_path: Path) -> None:
    assert "zip, tar or tar.gz" in refused(tmp_path, tarred(IMAGES, "w:bz2"))


def test_a_lone_split_is_no_wrapper(tmp_path: Path) -> None:
    files = {f"data/val/{path}": data for path, data in IMAGES.items()}
    assert {i.split for i in images_of(written(tmp_path / "upload", zipped(files)))} == {"val"}


def test_an_archive_of_texts_is_refused(tmp_path: Path) -> None:
    assert "no labelled images" in refused(tmp_path, zipped({"a/readme.txt": b"x", "b/notes.txt": b"y"}))


def test_labels_that_look_alike_are_one(tmp_path: Path) -> None:
    files = {"\u00e9/1.png": b"x", "e\u0301/2.png": b"y"}
    assert {i.label for i in images_of(written(tmp_path / "upload", zipped(files)))} == {"\u00e9"}


def test_a_control_character_in_a_name_is_refused_as_what_it_is(tmp_path: Path) -> None:
    assert "control character" in refused(tmp_path, zipped({"a\nb/1.png": b"x"}))


def test_a_bomb_of_many_small_entries_is_refused_by_the_whole(tmp_path: Path) -> None:
    """Each is too small to be told for one."""
    bomb = zipped({f"a/{i}.bmp": bytes(1 << 20) for i in range(100)}, zipfile.ZIP_DEFLATED)
    assert "bomb" in refused(tmp_path, bomb)


def test_a_gz_that_is_no_tar_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(1 << 20)
    assert "not a zip, tar or tar.gz" in refused(tmp_path, gzip.compress(noise + bytes(50 << 20), mtime=0))
    assert not (tmp_path / "upload.tar").stat().st_size


@pytest.mark.parametrize("name", ["\0a/1.png", "a/1\0.png", "a\0/1.png"])
def test_a_nul_in_a_zips_name_is_refused(tmp_path: Path, name: str) -> None:
    stand_in = name.replace("\0", "~")
    content = zipped(IMAGES | {stand_in: b"x"}).replace(stand_in.encode(), name.encode())
    assert "control character" in refused(tmp_path, content)


def test_a_directory_that_hides_entries_is_refused(tmp_path: Path) -> None:
    """Its size says that it ends earlier than its count."""
    whole = bytearray(zipped(IMAGES))
    end = whole.index(b"PK\x05\x06")
    first, second = (m.start() for m in list(re.finditer(b"PK\x01\x02", bytes(whole)))[:2])
    kept = whole[:second] + whole[end:]
    kept[second + 12 : second + 16] = (second - first).to_bytes(4, "little")
    assert "has not the 4 entries" in refused(tmp_path, bytes(kept))


def test_there_are_bounds_for_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LABELS", 1)
    assert "2 labels; 1 is the most" in refused(tmp_path, zipped(IMAGES))
    monkeypatch.setattr(listing, "MAX_LABELS", 2)
    assert "longer than 256 bytes" in refused(tmp_path, zipped({f"{'x' * 257}/1.png": b"x", "b/1.png": b"y"}))
