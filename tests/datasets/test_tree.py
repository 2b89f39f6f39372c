"""What folders mean: trees as torchvision, fastai, Kaggle, Roboflow, Ultralytics, Hugging Face and people make them."""

from pathlib import Path
from typing import Any

import pytest

from services.contract.errors import InvalidArchive
from services.contract.layout import Layout
from services.datasets.listing import Listing, list_upload
from tests.drawing import written, zipped


def pictures(*folders: str, each: int = 3, start: int = 0) -> dict[str, bytes]:
    """So many in each, none like another."""
    names = [f"{folder}/{n}.png".lstrip("/") for folder in folders for n in range(start, start + each)]
    return {name: b"\x89PNG\r\n\x1a\n" + name.encode() for name in names}


def listed(tmp_path: Path, files: dict[str, bytes], **layout: Any) -> Listing:
    return list_upload(written(tmp_path / "upload", zipped(files)), Layout(**layout))


def read(tmp_path: Path, files: dict[str, bytes], **layout: Any) -> dict[str, dict[str, int]]:
    return {split: dict(labels) for split, labels in listed(tmp_path, files, **layout).contents.labels.items()}


def codes(listing: Listing) -> set[str]:
    return {finding.code for finding in listing.report.findings}


AB = {"a": 3, "b": 3}
SPLITS = pictures("train/a", "train/b", "val/a", "val/b")

TREES: dict[str, tuple[dict[str, bytes], dict[str, dict[str, int]]]] = {
    "labels": (pictures("a", "b"), {"train": AB}),
    "a wrapper": (pictures("my-data/v1/a", "my-data/v1/b"), {"train": AB}),
    "a wrapper with a licence": (pictures("set/a", "set/b") | {"set/LICENSE.txt": b"x", "README": b"x"}, {"train": AB}),
    "a wrapper with fewer pictures beside": (pictures("set/a", "set/b") | pictures("", each=2), {"train": AB}),
    "splits": (SPLITS, {"train": AB, "val": AB}),
    "splits in a wrapper": ({f"data/{path}": data for path, data in SPLITS.items()}, {"train": AB, "val": AB}),
    "splits in capitals": (pictures("Train/a", "Train/b", "TEST/a", "TEST/b"), {"train": AB, "test": AB}),
    "splits in full": (
        pictures("training/a", "training/b", "validation/a", "testing/b"),
        {"train": AB, "val": {"a": 3}, "test": {"b": 3}},
    ),
    "Roboflow's": (
        pictures("train/a", "train/b", "valid/a", "test/b") | {"README.dataset.txt": b"x"},
        {"train": AB, "val": {"a": 3}, "test": {"b": 3}},
    ),
    "splits with a thing's name": (
        pictures("train_set/a", "train_set/b", "test-images/a"),
        {"train": AB, "test": {"a": 3}},
    ),
    "splits without a separator": (pictures("trainset/a", "trainset/b", "valset/b"), {"train": AB, "val": {"b": 3}}),
    "COCO's years": (pictures("train2017/a", "train2017/b", "val2017/a"), {"train": AB, "val": {"a": 3}}),
    "Kaggle's Intel set": (
        pictures("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a", "seg_pred/seg_pred"),
        {"train": AB, "test": {"a": 3}},
    ),
    "an affix behind": (pictures("train_small/a", "train_small/b", "val_small/b"), {"train": AB, "val": {"b": 3}}),
    "dev beside train": (pictures("train/a", "train/b", "dev/a"), {"train": AB, "val": {"a": 3}}),
    "eval without train": (pictures("eval", "other"), {"train": {"eval": 3, "other": 3}}),
    "a folder beside the splits": (SPLITS | pictures("samples"), {"train": AB, "val": AB}),
    "a flat test": (pictures("train/a", "train/b", "test"), {"train": AB}),
    "an unlabelled test in a folder": (pictures("train/a", "train/b", "test/all"), {"train": AB}),
    "a flat val": (pictures("train/n01", "train/n02", "val"), {"train": {"n01": 3, "n02": 3}}),
    "valid and invalid": (pictures("valid", "invalid"), {"train": {"valid": 3, "invalid": 3}}),
    "a train among vehicles": (pictures("train", "bus", "car"), {"train": {"train": 3, "bus": 3, "car": 3}}),
    "splits under each label": (pictures("a/train", "b/train", "a/val", "b/val"), {"train": AB, "val": AB}),
    "split words within a split": (
        pictures("train/train", "train/apple", "test/train"),
        {"train": {"train": 3, "apple": 3}, "test": {"train": 3}},
    ),
    "a wrapper in each split": (pictures("train/x/a", "train/x/b", "val/x/a"), {"train": AB, "val": {"a": 3}}),
    "deeper folders": (pictures("a/2020", "a/2021", "b/2020"), {"train": {"a": 6, "b": 3}}),
    "few loose pictures": (pictures("a", "b", each=5) | pictures("", each=2), {"train": {"a": 5, "b": 5}}),
    "only val": (pictures("val/a", "val/b"), {"val": AB}),
    "only a test of one label": (pictures("test/a"), {"test": {"a": 3}}),
    "val lacks a label": (pictures("train/a", "train/b", "val/a"), {"train": AB, "val": {"a": 3}}),
    "val has one more": (pictures("train/a", "train/b", "val/a", "val/c"), {"train": AB, "val": {"a": 3, "c": 3}}),
    "numbers": (pictures("1", "2", "10"), {"train": {"1": 3, "2": 3, "10": 3}}),
    "a label with a dot": (pictures(".NET", "C++"), {"train": {".NET": 3, "C++": 3}}),
    "colons, quotes, emoji": (pictures("1:1", "it's", "🦊 fox"), {"train": {"1:1": 3, "it's": 3, "🦊 fox": 3}}),
    "spaces and dots at the end": (pictures("dog", "dog ", "cat."), {"train": {"dog": 3, "dog ": 3, "cat.": 3}}),
    "é in two forms": (pictures("\u00e9", "b") | pictures("e\u0301", start=3), {"train": {"\u00e9": 6, "b": 3}}),
    "empty folders": (pictures("a", "b") | {"birds/": b"", "fish/notes.txt": b"x"}, {"train": AB}),
    "checkpoints of notebooks": (pictures("a", "b", ".ipynb_checkpoints", "a/.ipynb_checkpoints"), {"train": AB}),
    "macOS' and Windows' own": (
        pictures("a", "b", "__MACOSX/a") | {"a/._0.png": b"x", "b/Thumbs.db": b"x"},
        {"train": AB},
    ),
    "sidecars and films": (pictures("a", "b") | {"a/0.json": b"x", "a/0.xml": b"x", "b/0.MOV": b"x"}, {"train": AB}),
    "one label": (pictures("cats"), {"train": {"cats": 3}}),
}


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_means_what_its_maker_meant(tmp_path: Path, tree: str) -> None:
    files, wanted = TREES[tree]
    assert read(tmp_path, files) == wanted


REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "pictures straight in the splits": (pictures("train", "test"), "has no labels for train"),
    "train without labels": (pictures("train", "test/a", "test/b"), "has no labels for train"),
    "all in train/train": (pictures("train/train", "test/test"), "all pictures lie in 'train', which is no label"),
    "all in images": (pictures("images"), "all pictures lie in 'images', which is no label"),
    "all in data, and some above": (pictures("data", each=5) | pictures("", each=2), "has no labels"),
    "all above": (pictures(""), "pictures lie in no label's folder, as '0.png'"),
    "many loose pictures": (pictures("a", "b") | pictures("", each=4), "in no label's folder, as '0.png'"),
    "a split and a label": (pictures("train", "bus"), "'train' look like splits, and 'bus' like labels: state it"),
    "flat splits and labels": (pictures("train", "test", "bus", "car"), "look like splits"),
    "a lone deep train and a label": (pictures("train/a", "train/b", "bus"), "look like splits"),
    "two folders of one split": (pictures("train/a", "val/a", "valid/a"), "'val', 'valid' are all folders of val"),
    "splits under some labels": (pictures("a/train", "a/val", "b"), "'a' hold splits, 'b' not: state it"),
    "splits in a split": (pictures("test/train", "test/val"), "splits in a split"),
    "splits beside others in labels": (pictures("a/train", "a/test", "a/more", "b"), "hold splits"),
    "very deep": ({"a/" * 200 + "1.png": b"x"}, "more than 100 folders"),
    "no pictures": ({"a/1.txt": b"x", "b/2.csv": b"x"}, "has no labelled images (it has .csv, .txt)"),
    "camera raw": ({"a/1.dng": b"II*\0", "b/1.dng": b"II*\0"}, "has no labelled images (it has .dng)"),
}


@pytest.mark.parametrize("tree", REFUSED)
def test_in_doubt_nothing_is_taken_and_it_is_said_how_to_state_it(tmp_path: Path, tree: str) -> None:
    files, sentence = REFUSED[tree]
    with pytest.raises(InvalidArchive) as error:
        listed(tmp_path, files)
    assert sentence in error.value.message


SAID: dict[str, tuple[dict[str, bytes], str]] = {
    "samples": (SPLITS | pictures("samples"), "folder_left_out"),
    "a flat test": (pictures("train/a", "train/b", "test"), "split_without_labels"),
    "valid and invalid": (pictures("valid", "invalid"), "labels_like_splits"),
    "deeper folders": (pictures("a/x", "a/y", "b/x"), "deeper_folders"),
    "empty folders": (pictures("a", "b") | {"birds/": b""}, "empty_folders"),
    "a label with a dot": (pictures(".NET", "C++"), "label_with_a_dot"),
    "labels that look alike": (pictures("Cat", "cat"), "labels_alike"),
    "a space at the end": (pictures("dog", "dog "), "labels_alike"),
    "few pictures": (pictures("a", "b"), "few_pictures"),
    "one each": (pictures("a", "b", each=1), "nothing_to_hold_out"),
    "one label": (pictures("cats"), "one_label"),
    "imbalance": (pictures("a", each=50) | pictures("b", each=5), "imbalance"),
    "unknown labels": (pictures("train/a", "train/b", "val/a", "val/c"), "unknown_labels"),
    "leakage": (
        pictures("train/a", "train/b") | {"val/a/x.png": pictures("train/a")["train/a/0.png"]},
        "same_in_splits",
    ),
    "two labels for one": (pictures("a", "b") | {"b/x.png": pictures("a")["a/0.png"]}, "same_under_labels"),
    "a web page": (pictures("a", "b") | {"a/x.jpg": b"<html>"}, "no_pictures"),
    "camera raw": (pictures("a", "b") | {"a/x.dng": b"II*\0"}, "camera_raw"),
    "an archive": (pictures("a", "b") | {"more.zip": b"PK"}, "archives_inside"),
    "loose pictures": (pictures("a", "b", each=5) | pictures("", each=1), "left_out"),
}


@pytest.mark.parametrize("case", SAID)
def test_what_may_be_wrong_is_said(tmp_path: Path, case: str) -> None:
    files, code = SAID[case]
    assert code in codes(listed(tmp_path, files))


def test_a_tidy_set_has_no_findings(tmp_path: Path) -> None:
    assert listed(tmp_path, pictures("train/a", "train/b", "val/a", "val/b", each=5)).report.findings == []


def test_the_report_says_how_folders_were_understood_and_what_was_left_out_by_name(tmp_path: Path) -> None:
    files = pictures("set/train/a", "set/train/b", "set/test") | {"set/notes.txt": b"x", "set/.DS_Store": b"x"}
    report = listed(tmp_path, files).report
    assert report.layout == {
        "set": "wrapper",
        "set/train": "train",
        "set/train/a": "label",
        "set/train/b": "label",
        "set/test": "test",
    }
    left_out = {(of.reason, of.kind): (of.count, of.files) for of in report.left_out}
    assert left_out == {
        ("no picture", ".txt"): (1, ["set/notes.txt"]),
        ("left behind by a system", ""): (1, ["set/.DS_Store"]),
        ("test without labels", ".png"): (3, ["set/test/0.png", "set/test/1.png", "set/test/2.png"]),
    }
    assert report.formats == {"png": 6}
    assert report.sizes is not None
    assert report.contents.splits_left_out == ["test"]


# --- stated --------------------------------------------------------------------------------------------------------

STATED: dict[str, tuple[dict[str, bytes], dict[str, Any], dict[str, dict[str, int]]]] = {
    "splits": (pictures("x/a", "x/b", "y/a"), {"train": "x", "test": "y"}, {"train": AB, "test": {"a": 3}}),
    "below wrappers": (pictures("x/x/a", "x/x/b"), {"train": "x"}, {"train": AB}),
    "deep": (pictures("s/x/a", "s/x/b", "s/y/b"), {"train": "s/x", "val": "s/y"}, {"train": AB, "val": {"b": 3}}),
    "all of it": (pictures("train", "bus"), {"train": ""}, {"train": {"train": 3, "bus": 3}}),
    "two folders": (pictures("x/a", "y/b"), {"train": ["x", "y"]}, {"train": AB}),
    "what is ignored": (
        pictures("train", "bus", "x"),
        {"train": ".", "ignore": ["x"]},
        {"train": {"train": 3, "bus": 3}},
    ),
    "one in another": (pictures("a", "b", "held/a"), {"train": "", "test": "held"}, {"train": AB, "test": {"a": 3}}),
    "leaves": (pictures("big/a", "big/b", "small/a"), {"labels": "leaf"}, {"train": {"a": 6, "b": 3}}),
    "names": (
        {f"{n}.{k}.png": b"x" for n in ("cat", "dog") for k in "01"},
        {"pattern": "{label}.*"},
        {"train": {"cat": 2, "dog": 2}},
    ),
    "names in splits": (
        {f"{s}/{n}_{k}.png": b"x" for s in ("train", "val") for n in "ab" for k in "01"},
        {"pattern": "{label}_*"},
        {"train": {"a": 2, "b": 2}, "val": {"a": 2, "b": 2}},
    ),
    "paths": (
        {f"{s}/x/{n}.{k}.png": b"x" for s in ("train", "test") for n in "ab" for k in "01"},
        {"pattern": "{split}/*/{label}.*"},
        {"train": {"a": 2, "b": 2}, "test": {"a": 2, "b": 2}},
    ),
}


@pytest.mark.parametrize("case", STATED)
def test_a_stated_layout_decides(tmp_path: Path, case: str) -> None:
    files, layout, wanted = STATED[case]
    assert read(tmp_path, files, **layout) == wanted


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        ({"train": "nowhere"}, "has no folder 'nowhere'"),
        ({"table": "labels.csv"}, "has no CSV or JSON lines 'labels.csv'"),
        ({"pattern": "{label}!"}, "fits none of the pictures"),
        ({"ignore": ["c"]}, "layout.ignore: the archive has no 'c'"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(tmp_path: Path, layout: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidArchive) as error:
        listed(tmp_path, pictures("a", "b"), **layout)
    assert sentence in error.value.message


# --- tables --------------------------------------------------------------------------------------------------------

LOOSE = pictures("", each=4)
TABLES: dict[str, tuple[dict[str, bytes], dict[str, dict[str, int]]]] = {
    "a CSV": ({"labels.csv": b"path,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n"}, {"train": {"a": 2, "b": 2}}),
    "with splits": (
        {"labels.csv": b"path,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,val\n3.png,b,test\n"},
        {"train": {"a": 1, "b": 1}, "val": {"a": 1}, "test": {"b": 1}},
    ),
    "semicolons and a mark": (
        {"x.csv": "\ufefflabel;file_name\r\na;0.png\r\nb;1.png\r\n".encode()},
        {"train": {"a": 1, "b": 1}},
    ),
    "pandas' index": ({"labels.csv": b",path,label\n0,0.png,a\n1,1.png,b\n"}, {"train": {"a": 1, "b": 1}}),
    "UTF-16": ({"labels.csv": "path,label\r\n0.png,a\r\n1.png,b\r\n".encode("utf-16")}, {"train": {"a": 1, "b": 1}}),
    "JSON lines": (
        {"metadata.jsonl": b'{"file_name": "0.png", "label": 1}\n{"file_name": "1.png", "label": 2}\n'},
        {"train": {"1": 1, "2": 1}},
    ),
    "JSON lines with splits": (
        {
            "metadata.jsonl": b'{"path": "0.png", "label": "a", "split": "train"}\n'
            b'{"path": "1.png", "label": "a", "split": "test"}\n'
        },
        {"train": {"a": 1}, "test": {"a": 1}},
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_with_paths_and_labels_decides(tmp_path: Path, case: str) -> None:
    table, wanted = TABLES[case]
    assert read(tmp_path, LOOSE | table) == wanted


def test_tables_lie_beside_their_pictures_as_hugging_face_has_it(tmp_path: Path) -> None:
    files = pictures("train", "test", each=2)
    files |= {f"{split}/metadata.csv": b"file_name,label\n0.png,a\n1.png,b\n" for split in ("train", "test")}
    assert read(tmp_path, files) == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}}


def test_tables_that_are_called_like_splits_are_theirs(tmp_path: Path) -> None:
    files = pictures("images", each=4)
    files |= {"train.csv": b"path,label\nimages/0.png,a\nimages/1.png,b\n", "test.csv": b"path,label\nimages/2.png,a\n"}
    assert read(tmp_path, files) == {"train": {"a": 1, "b": 1}, "test": {"a": 1}}


def test_a_table_without_paths_and_labels_is_only_named(tmp_path: Path) -> None:
    found = listed(tmp_path, pictures("a", "b") | {"train.csv": b"id,breed\n1,x\n"})
    assert found.contents.labels == {"train": AB}
    assert [of.files for of in found.report.left_out] == [["train.csv"]]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (b"path,label\n9.png,a\n", "names none of the archive's pictures"),
        (b"path,label\n0.png,\n", "row 1 has no label"),
        (b"path,label\n0.png,a\n0.png,b\n", "names '0.png' twice"),
        ("path,label\n0.png,café\n".encode("cp1252"), "is no UTF-8"),
        (b"path,label,split\n0.png,a,holdout\n", "'holdout' is no split"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_row(tmp_path: Path, table: bytes, sentence: str) -> None:
    with pytest.raises(InvalidArchive) as error:
        listed(tmp_path, LOOSE | {"labels.csv": table})
    assert sentence in error.value.message


def test_no_pattern_takes_long_on_a_long_name() -> None:
    layout = Layout(pattern="{label}" + "*x" * 30 + "y")
    assert layout.label_in_name("a" + "x" * 2000 + ".png") is None
    found = Layout(pattern="{label}_*-*.png").label_in_name("red_fox_1-2-3.png")
    assert found is not None
    assert found["label"] == "red"
    assert Layout(pattern="*_{label}.jpg").label_in_name("0001_cat.jpg")["label"] == "cat"  # type: ignore[index]


def test_a_layout_is_small() -> None:
    with pytest.raises(ValueError, match="more than 16384 bytes"):
        Layout(ignore=["x" * 4000] * 5)
