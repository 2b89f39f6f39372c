"""What a job leaves: files that are equal where models are, and an archive that needs nothing of ours."""

import errno
import io
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from torch import nn
from torchvision.models import resnet18

from services.contract.evaluation import Evaluation, LabelScore
from services.contract.model import Receipt
from services.contract.recipe import Export
from services.contract.spec import ArchivePaths, TrainerSpec
from tests.conftest import result
from tests.drawing import png, shapes, zipped
from workers.trainer import bundle
from workers.trainer.export import export
from workers.trainer.trained import Trained
from workers.vision.backbone import Backbone
from workers.vision.images import normalised, pixels

FORMATS: list[Export] = ["pt", "onnx", "zip"]


def receipt(formats: list[Export] = FORMATS) -> Receipt:
    return result().receipt.model_copy(
        update={"export": formats, "weights_sha256": "f00", "preprocess": "as ever", "versions": {"headway": "1"}}
    )


@pytest.fixture
def trained(random_backbone: Backbone) -> Trained:
    torch.manual_seed(0)
    return Trained(random_backbone.network, nn.Linear(512, 2), ["circle", "square"], receipt(), evaluation=None)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_equal_models_leave_equal_bytes_in_every_format(trained: Trained, tmp_path: Path) -> None:
    left = []
    for out in (folder(tmp_path / "one"), folder(tmp_path / "other")):
        files = export(trained, out)
        assert list(files) == ["safetensors", *FORMATS]
        left.append({format: (out / name).read_bytes() for format, name in files.items()})
    assert left[0] == left[1]


def test_the_head_says_what_it_belongs_to(trained: Trained, tmp_path: Path) -> None:
    with safe_open(tmp_path / export(trained, tmp_path)["safetensors"], "pt") as head:
        assert torch.equal(head.get_tensor("fc.weight"), trained.head.weight)
        assert head.metadata() == {
            "labels": '["circle", "square"]',
            "weights_sha256": "f00",
            "preprocess": "as ever",
        }


@pytest.mark.parametrize("name", ["head.safetensors", "model.pt", "model.onnx", "model.zip"])
def test_a_full_disk_is_an_error_of_the_system_whatever_is_written(trained: Trained, name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(OSError) as refused:
        export(trained, tmp_path)
    assert refused.value.errno == errno.ENOSPC


# --- the archive ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_leaves_an_archive_with_all_that_is_known_of_its_model(
    archive: Callable[[bytes], ArchivePaths],
    trainer_spec: Callable[..., TrainerSpec],
    run_trainer: Callable[..., list[Any]],
) -> None:
    spec = trainer_spec(archive(zipped(shapes(6))), export=["zip"], num_labels=3)
    lines = run_trainer(spec)
    assert lines[-1].exports == {"safetensors": "head.safetensors", "zip": "model.zip"}
    evaluation = next(line.evaluation for line in lines if line.type == "evaluation")
    with zipfile.ZipFile(Path(spec.out) / "model.zip") as members:
        assert members.namelist() == ["model.onnx", "labels.json", "manifest.json", "README.md", "predict.py"]
        assert json.loads(members.read("labels.json")) == ["circle", "square", "unused 2"]
        assert Receipt.model_validate_json(members.read("manifest.json")) == lines[-1].receipt
        card = members.read("README.md").decode()
    assert "$" not in card
    assert f"Accuracy {evaluation.accuracy:.3f}" in card
    assert "| square | 1 | " in card
    for known in (lines[-1].receipt.data_sha256, lines[-1].receipt.weights_sha256, "`random:0`, which was never"):
        assert known in card


def test_a_label_that_looks_like_markup_is_no_markup_in_the_card() -> None:
    label = "a|b <script>\n# `$x`"
    score = LabelScore(label=label, images=1, precision=1, recall=1, f1=1)
    evaluation = Evaluation(split="test", images=1, loss=0, accuracy=1, labels=[score], confusion=[])
    card = bundle.card(Trained(nn.Identity(), nn.Linear(512, 1), [label], receipt(), evaluation))
    shown = r"a\|b \<script\> # \`\$x\`"
    assert f"| {shown} | 1 | 1.000 | 1.000 | 1.000 |" in card.splitlines()
    assert f"Labels: {shown}." in card.splitlines()


# --- its script, where there is nothing else -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what the archive's script says that it needs, and no more."""
    place = tmp_path_factory.mktemp("bare")
    venv.create(place)
    python = place / "bin" / "python"
    needed = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "pillow")]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", *needed], check=True)
    return python


def upright_picture(mode: str) -> Image.Image:
    """Where alpha is, it is 0 above and 255 below."""
    image = Image.new(mode, (300, 200), "white" if mode == "RGB" else (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 120, 300, 200), fill="blue")
    return image


def turned_jpeg(image: Image.Image) -> bytes:
    """It lies on its side, and EXIF says so."""
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(content, "jpeg", quality=95, exif=exif)
    return content.getvalue()


def knows_what_is_upright(backbone: Backbone) -> nn.Linear:
    """A head that tells the upright picture from one that lies on its side, whatever the backbone."""
    image = upright_picture("RGB")
    sides = [pixels(png(each)) for each in (image, image.transpose(Image.Transpose.ROTATE_90))]
    upright, lying = backbone.network(normalised(torch.stack(sides)))  # (512,), (512,)
    apart = upright - lying
    head = nn.Linear(512, 2).requires_grad_(False)
    head.weight[0], head.weight[1] = 4 * apart / apart.dot(apart), -4 * apart / apart.dot(apart)
    head.bias[:] = -head.weight @ (upright + lying) / 2
    return head


@pytest.mark.slow
def test_its_script_says_what_torch_says_with_onnxruntime_numpy_and_pillow_alone(
    bare_python: Path, random_backbone: Backbone, tmp_path: Path
) -> None:
    head = knows_what_is_upright(random_backbone)
    trained = Trained(random_backbone.network, head, ["upright", "lying"], receipt(), evaluation=None)
    zipfile.ZipFile(tmp_path / export(trained, tmp_path)["zip"]).extractall(tmp_path / "model")
    images = {"clear.png": png(upright_picture("RGBA")), "turned.jpg": turned_jpeg(upright_picture("RGB"))}
    for name, content in images.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("no image")

    done = subprocess.run(
        [bare_python, "model/predict.py", "clear.png", "notes.txt", "turned.jpg", "--top-k", "1"],
        cwd=tmp_path,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("notes.txt cannot be read as an image: ")
    wanted = torchs_probabilities(tmp_path / "model.pt", [*images.values()])  # (2, 2)
    assert wanted.argmax(1).tolist() == [0, 0]
    said = done.stdout.splitlines()
    assert said[::2] == ["clear.png:", "turned.jpg:"]
    for line, probabilities in zip(said[1::2], wanted, strict=True):
        label, probability = line.split()
        assert label == "upright"
        assert float(probability) == pytest.approx(float(probabilities[0]), abs=5e-3)


@pytest.mark.slow
def test_the_cards_lines_of_python_are_all_that_it_takes(bare_python: Path, trained: Trained, tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / export(trained, tmp_path)["zip"]).extractall(tmp_path)
    upright_picture("RGB").save(tmp_path / "photo.jpg")
    found = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    assert found
    code = f"{found[1]}\nprint(probabilities.shape)"
    done = subprocess.run([bare_python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "(2,)\n"


def torchs_probabilities(state: Path, images: list[bytes]) -> torch.Tensor:
    """(n, 2), of plain torchvision with the exported state dict."""
    model = resnet18(num_classes=2)
    model.load_state_dict(torch.load(state, weights_only=True))
    with torch.inference_mode():
        return torch.softmax(model.eval()(normalised(torch.stack([*map(pixels, images)]))), 1)
