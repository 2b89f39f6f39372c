"""Names of zip entries as macOS, Windows and others write them."""

from pathlib import Path

import pytest

from services.datasets.listing import Listing, list_upload
from tests.drawing import png, shape, written, zipped


def flagless(labels: list[str], encoding: str) -> bytes:
    """A zip that does not say in which encoding its names are."""
    raws = [label.encode(encoding) for label in labels]
    stand_ins = [chr(65 + number) * len(raw) for number, raw in enumerate(raws)]
    files = {f"{name}/{n}.png": png(shape("circle", 9 * n + len(name))) for name in stand_ins for n in range(2)}
    content = zipped(files)
    for stand_in, raw in zip(stand_ins, raws, strict=True):
        content = content.replace(f"{stand_in}/".encode(), raw + b"/")
    return content


def listed(tmp_path: Path, labels: list[str], encoding: str) -> Listing:
    return list_upload(written(tmp_path / "upload", flagless(labels, encoding)))


def test_utf8_without_the_flag_is_read_as_it_was_meant_and_needs_no_word(tmp_path: Path) -> None:
    """macOS' Archive Utility."""
    found = listed(tmp_path, ["café", "crêpe", "猫"], "utf-8")
    assert found.contents.names == ["café", "crêpe", "猫"]
    assert "names_guessed" not in {finding.code for finding in found.report.findings}


@pytest.mark.parametrize(
    ("labels", "encoding"),
    [
        (["猫", "狗"], "gbk"),
        (["训练", "测试图片"], "gbk"),
        (["ネコ", "イヌ"], "cp932"),
        (["고양이", "강아지"], "cp949"),
        (["貓咪", "小狗"], "big5"),
        (["кошка", "собака"], "cp866"),
        (["кошка", "собака"], "cp1251"),
        (["café", "crêpe"], "cp437"),
    ],
)
def test_names_in_a_code_page_are_told_by_their_bytes_and_it_is_said(
    tmp_path: Path, labels: list[str], encoding: str
) -> None:
    found = listed(tmp_path, labels, encoding)
    assert found.contents.names == sorted(labels)
    assert "names_guessed" in {finding.code for finding in found.report.findings}
