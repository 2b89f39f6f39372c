"""OpenAI's vision fine-tuning files: JSON lines of messages, their pictures as data URLs."""

import base64
import json
from pathlib import Path

import pytest

from services.contract.errors import InvalidArchive
from services.datasets.listing import list_upload
from tests.drawing import shapes, written

PICTURES = shapes(2)


def url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def line(image: str, label: str) -> str:
    user = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": image}}]
    system = {"role": "system", "content": "You name shapes."}
    return json.dumps(
        {"messages": [system, {"role": "user", "content": user}, {"role": "assistant", "content": label}]}
    )


def test_each_line_is_a_picture_and_its_answer_the_label(tmp_path: Path) -> None:
    lines = [line(url(content), path.split("/")[0]) for path, content in PICTURES.items()]
    listed = list_upload(written(tmp_path / "upload", "\n".join(lines).encode()))
    assert listed.contents.labels == {"train": {"circle": 2, "square": 2}}
    data = Path(listed.data).read_bytes()
    found = [data[image.offset : image.offset + image.stored] for image in listed.images]
    assert found == list(PICTURES.values())


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (line("https://example.com/cat.png", "cat"), "line 2: send the picture as a data URL"),
        (line("data:image/png;base64,%%%", "cat"), "line 2: its picture is no base64"),
        (line(url(b"x"), "  "), "line 2: it has 1 pictures and 1 answers"),
        (json.dumps({"prompt": "x"}), "line 2: send"),
        ("[" * 100_000, "line 2: send"),
        (line("data:image/png;base64,é", "cat"), "line 2: its picture is no base64"),
        ("{", "line 2: send"),
    ],
)
def test_a_line_that_is_wrong_is_refused_by_its_number(tmp_path: Path, bad: str, sentence: str) -> None:
    content = f"{line(url(PICTURES['circle/000.png']), 'circle')}\n{bad}\n".encode()
    with pytest.raises(InvalidArchive) as error:
        list_upload(written(tmp_path / "upload", content))
    assert sentence in error.value.message
