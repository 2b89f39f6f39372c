"""The model with all that its user needs: the graph, its labels, the receipt, a card to read, a script to run."""

import json
import re
import zipfile
from pathlib import Path
from string import Template
from typing import Final

from services.contract.evaluation import Evaluation
from services.contract.model import PREPROCESSING, Receipt
from workers.trainer.trained import Trained

CARD: Final = Path(__file__).parent / "card"
MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|~&$])")  # what would be no text there
WEIGHTS: Final = {
    "default": "torchvision's `ResNet18_Weights.DEFAULT`, trained on ImageNet",
    "file": "a file of whoever ran the worker",
}


def write(path: Path, graph: bytes, trained: Trained) -> None:
    """An archive at `path`; the same model gives the same bytes. Raises OSError."""
    members = {
        "model.onnx": graph,
        "labels.json": json.dumps(trained.labels).encode(),
        "manifest.json": trained.receipt.model_dump_json(indent=1).encode(),
        "README.md": card(trained).encode(),
        "predict.py": (CARD / "predict.py").read_bytes(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)  # of 1980, and stored: weights hardly shrink
            member.create_system, member.external_attr = 3, 0o644 << 16  # as on Unix, wherever it was written
            archive.writestr(member, content)


def card(trained: Trained) -> str:
    """In Markdown."""
    receipt = trained.receipt
    return Template((CARD / "README.md").read_text(encoding="utf-8")).substitute(
        classes=len(trained.labels),
        labels=", ".join(map(_text, trained.labels)),
        temperature=trained.temperature,
        evaluation=_evaluation(trained.evaluation) if trained.evaluation else "No image was held out to judge it by.",
        recipe=_recipe(receipt),
        data_sha256=receipt.data_sha256,
        weights=WEIGHTS.get(receipt.weights, f"`{receipt.weights}`, which was never trained"),
        weights_sha256=receipt.weights_sha256,
        precision=receipt.precision,
        version=receipt.versions["headway"],
        versions=", ".join(f"{name} {version}" for name, version in receipt.versions.items()),
        resized=PREPROCESSING.resize,
        side=PREPROCESSING.crop,
        **dict(receipt.images),
    )


def _evaluation(evaluation: Evaluation) -> str:
    images = {
        "test": "the test images",
        "val": "held-out images, which early stopping or a sweep, where there was one, chose the model by",
    }
    rows = [
        f"| {_text(score.label)} | {score.images} | {score.precision:.3f} | {score.recall:.3f} | {score.f1:.3f} |"
        for score in evaluation.labels
    ]
    return "\n".join(
        [
            f"Accuracy {evaluation.accuracy:.3f}, loss {evaluation.loss:.3f} on {evaluation.images} images: "
            f"{images[evaluation.split]}.",
            "",
            "| label | images | precision | recall | F1 |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _recipe(receipt: Receipt) -> str:
    options = {name: getattr(receipt, name) for name in ("feature_scaling", "split", "seed")}
    return "\n".join(f"| `{name}` | {value} |" for name, value in {**dict(receipt.hyperparameters), **options}.items())


def _text(label: str) -> str:
    """A label is its owner's word: it shows as it is, and makes no markup."""
    return MARKDOWN.sub(r"\\\1", " ".join(label.split()))
