"""Archives, good and bad: what is listed, what is refused and how it is said."""

import gzip
import io
import random
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from services.contract.errors import InvalidArchive
from services.datasets import bounds, listing
from services.datasets.index import DEFLATED, IndexedImage
from services.datasets.listing import list_upload
from services.located import Where, read_all
from tests.drawing import png, shape, shapes, tarred, written, zipped

IMAGES = shapes(2)


def images_of(path: Path) -> list[IndexedImage]:
    return list_upload(path).images


def read_back(data: Where, image: IndexedImage) -> bytes:
    raw = read_all(data)[image.offset : image.offset + image.stored]
    return zlib.decompress(raw, wbits=-15) if image.method == DEFLATED else raw


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(InvalidArchive) as error:
        list_upload(written(tmp_path / "upload", content))
    assert error.value.param == "file"
    return error.value.message


@pytest.mark.parametrize(
    "content",
    [zipped(IMAGES), zipped(IMAGES, zipfile.ZIP_DEFLATED), tarred(IMAGES), tarred(IMAGES, "w:gz")],
    ids=["zip", "deflated zip", "tar", "tar.gz"],
)
def test_every_kind_lists_the_same_images_by_path_and_where_their_bytes_lie(tmp_path: Path, content: bytes) -> None:
    listed = list_upload(written(tmp_path / "upload", content))
    assert [image.path for image in listed.images] == sorted(IMAGES)
    assert [image.label for image in listed.images] == ["circle", "circle", "square", "square"]
    assert {image.path: read_back(listed.data, image) for image in listed.images} == IMAGES


def test_what_systems_leave_behind_is_ignored_and_counted(tmp_path: Path) -> None:
    junk = {"__MACOSX/circle/._0.png": b"x", "circle/.DS_Store": b"x", "square/Thumbs.db": b"x", "README.md": b"x"}
    listed = list_upload(written(tmp_path / "upload", zipped(IMAGES | junk)))
    assert len(listed.images) == 4
    assert listed.contents.ignored == 4


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


def test_a_hard_link_in_a_tar_is_the_file_that_it_names(tmp_path: Path) -> None:
    content = io.BytesIO(tarred(IMAGES)[:-1024])
    with tarfile.open(fileobj=content, mode="a") as archive:
        member = tarfile.TarInfo("./square/again.png")
        member.type, member.linkname = tarfile.LNKTYPE, "./circle/000.png"
        archive.addfile(member)
    listed = list_upload(written(tmp_path / "upload", content.getvalue()))
    linked = next(image for image in listed.images if image.path == "square/again.png")
    assert read_back(listed.data, linked) == IMAGES["circle/000.png"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_backslashes_are_folders(tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    files = {path.replace("/", "\\"): data for path, data in IMAGES.items()}
    assert {image.path for image in images_of(written(tmp_path / "upload", pack(files)))} == set(IMAGES)


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


def test_dark_pictures_in_a_format_that_packs_nothing_are_no_bomb(tmp_path: Path) -> None:
    files = {f"{label}/{n}.bmp": bmp(seed) for label in "ab" for n in range(2) for seed in [n + ord(label)]}
    assert len(zipped(files, zipfile.ZIP_DEFLATED)) * 200 < sum(map(len, files.values()))
    for content in (zipped(files, zipfile.ZIP_DEFLATED), tarred(files, "w:gz")):
        assert len(images_of(written(tmp_path / "upload", content))) == 4


def bmp(seed: int) -> bytes:
    """1,024 × 768, black but for a pixel."""
    image = Image.new("RGB", (1024, 768))
    image.putpixel((0, 0), (seed, 0, 0))
    content = io.BytesIO()
    image.save(content, "bmp")
    return content.getvalue()


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    bomb = bytes(50_000_000)
    assert "bomb" in refused(tmp_path, zipped({"a/1.png": bomb}, zipfile.ZIP_DEFLATED))
    assert "bomb" in refused(tmp_path, tarred({"a/1.png": bomb}, "w:gz"))


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_ENTRIES", 3)
    for pack in (zipped, tarred):
        assert "at most 3" in refused(tmp_path, pack(IMAGES))


def test_an_archive_without_images_says_what_it_should_hold(tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path, zipped({}))
    assert "is empty" in refused(tmp_path, tarred({}))
    assert "pictures lie in no label's folder, as '1.png'" in refused(tmp_path, zipped({"1.png": b"x", "2.png": b"y"}))
    assert "holds archives, as 'train.zip'" in refused(tmp_path, zipped({"train.zip": zipped(IMAGES)}))


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
    monkeypatch.setattr(bounds, "MAX_ENTRIES", 10)
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
            list_upload(written(tmp_path / "upload", bytes(harmed)))
        except InvalidArchive:
            continue


def test_other_compressions_say_which_are_taken(tmp_path: Path) -> None:
    assert "zip, tar or tar.gz" in refused(tmp_path, tarred(IMAGES, "w:bz2"))


def test_an_archive_of_texts_is_refused(tmp_path: Path) -> None:
    assert "no labelled images" in refused(tmp_path, zipped({"a/readme.txt": b"x", "b/notes.txt": b"y"}))


def test_a_control_character_in_a_name_is_refused_as_what_it_is(tmp_path: Path) -> None:
    assert "control character" in refused(tmp_path, zipped({"a\nb/1.png": b"x"}))


def test_a_bomb_of_many_small_entries_is_refused_by_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is too small, or of a format that packs nothing, to be told for one."""
    zeros = {f"a/{i}.jpg": bytes(1 << 20) for i in range(100)}
    assert "bomb" in refused(tmp_path, zipped(zeros, zipfile.ZIP_DEFLATED))
    assert "bomb" in refused(tmp_path, tarred(zeros, "w:gz"))
    monkeypatch.setattr(bounds, "WHOLE_RATIO_FROM", 64 * 1024**2)  # a gigabyte, in seconds
    dark = zipped({f"a/{i}.bmp": b"BM" + bytes(1 << 20) for i in range(100)}, zipfile.ZIP_DEFLATED)
    assert "bomb" in refused(tmp_path, dark)


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
