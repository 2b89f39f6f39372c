"""`headway train`: a folder or an archive of pictures, to a model."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from services.client.api import Headway
from services.client.folder import FolderError, packed, understood
from services.client.options import ApiKey, Url, service
from services.client.progress import watch
from services.client.shrink import FROM as SHRUNK_FROM
from services.client.shrink import packed_small, weight
from services.client.terminal import console, fail, print_plain, shown
from services.client.verdict import tell_verdict
from services.contract.contents import Contents
from services.contract.errors import InvalidArchive
from services.contract.layout import GUESSED, Layout
from services.contract.report import Finding
from services.contract.wording import in_words

app = typer.Typer()

STYLES = {"error": "red", "warning": "yellow", "info": "dim"}
LABELS_SHOWN = 10
FORMATS = {".pt": "pt", ".zip": "zip", ".onnx": "onnx", ".safetensors": "safetensors"}


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="a folder of label/image, or a zip, tar or tar.gz of one", exists=True)],
    learning_rate: Annotated[float | None, typer.Option(help="0.01 if not given")] = None,
    momentum: Annotated[float | None, typer.Option(help="0.9 if not given")] = None,
    n_epochs: Annotated[int | None, typer.Option(help="10 if not given")] = None,
    batch_size: Annotated[int | None, typer.Option(help="64 if not given")] = None,
    feature_scaling: Annotated[str | None, typer.Option(help="none or standard; standard if not given")] = None,
    class_weights: Annotated[str | None, typer.Option(help="balanced: each label has the same say")] = None,
    weights: Annotated[str | None, typer.Option(help="default or random:N")] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="try them all: learning_rate=0.001,0.01; once for each axis of the grid")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help='what folders mean, as JSON: {"train": "seg_train", "ignore": ["seg_pred"]}')
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="save the model here: model.pt, .zip (with ONNX), .onnx or .safetensors")
    ] = None,
    shrink: Annotated[
        bool | None,
        typer.Option(help="send photographs with a short side of 512; of a folder over 100 MB, unless said"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask, whatever looks wrong")] = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Upload images, train a classifier, watch it, and save the model."""
    asked = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "n_epochs": n_epochs,
        "batch_size": batch_size,
        "feature_scaling": feature_scaling,
        "class_weights": class_weights,
        "weights": weights,
    }
    body: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if sweep:
        body["sweep"] = dict(_axis(text) for text in sweep)
    format = None if out is None else format_of(out)
    if format is not None:
        body["export"] = [format]
    stated = _layout(layout)
    if data.is_dir():
        _look_through(data, stated, ask=not yes)
    with service(url, api_key) as api:
        file = _uploaded(api, data, stated, shrink=shrink)
        job = api.submit(body | {"training_file": file["id"]})
        console.print(f"submitted {job['id']}", highlight=False)
        ended = watch(api, job["id"], console)
        tell_end(ended)
        tell_verdict(api, ended, console)
        if out is not None and format is not None:
            save(api, ended["fine_tuned_model"], format, out)
    print_plain(f"Try it: headway predict {ended['fine_tuned_model']} PICTURE_OR_FOLDER")


def save(api: Headway, model: str, format: str, out: Path) -> None:
    """With its labels and preprocessing beside it, where the format has no place for them."""
    api.download(model, format, out)
    print_plain(f"saved {out}")
    if format == "pt":
        about = api.model(model)
        beside = out.with_suffix(".json")
        told = {name: about[name] for name in ("id", "labels", "preprocessing", "temperature", "weights")}
        beside.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        print_plain(f"saved {beside}, with its labels and preprocessing")


def tell_end(job: dict[str, Any]) -> None:
    if job["status"] != "succeeded":
        fail(f"The job {job['status']}: {job['status_reason']['message']}")
    if job["sweep"]:
        _print_trials(job)
    console.print(shown(job["status_reason"]["message"]), highlight=False, markup=False)


# --- before anything is sent ---------------------------------------------------------------------------------------


def format_of(out: Path) -> str:
    """As its ending says, once it can be written."""
    if out.is_dir():
        fail(f"--out {out}: it is a folder; name a file, as {out / 'model.pt'}.")
    if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
        fail(f"--out {out}: its folder is not there, or cannot be written.")
    format = FORMATS.get(out.suffix.lower())
    if format is None:
        fail(f"--out {out}: its ending says the format: name it {', '.join(f'model{ending}' for ending in FORMATS)}.")
    return format


def _layout(text: str | None) -> Layout | None:
    try:
        return None if text is None else Layout.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        fail(f"--layout: {where}{': ' if where else ''}{in_words(problem)}")


def _look_through(folder: Path, layout: Layout | None, *, ask: bool) -> None:
    """Says what was understood; where something looks wrong, a person decides."""
    try:
        listing = understood(folder, layout or GUESSED)
    except InvalidArchive as error:
        fail(f"{folder}: {error.message}")
    except FolderError as error:
        fail(str(error))
    _tell(listing.contents, listing.report.findings)
    looks_wrong = any(finding.severity != "info" for finding in listing.report.findings)
    if looks_wrong and ask and sys.stdin.isatty() and console.is_terminal:
        typer.confirm("Train on it all the same?", abort=True)


def _tell(contents: Contents, findings: list[Finding]) -> None:
    for split, counts in contents.labels.items():
        some = ", ".join(f"{shown(label)} {count}" for label, count in list(counts.items())[:LABELS_SHOWN])
        more = f", and {len(counts) - LABELS_SHOWN} more labels" if len(counts) > LABELS_SHOWN else ""
        line = f"{split}: {sum(counts.values())} images of {len(counts)} labels ({some}{more})"
        console.print(f"  {line}", highlight=False, markup=False)
    for finding in findings:
        said = shown(f"{finding.message} {finding.remedy}".strip())
        console.print(f"  {said}", style=STYLES[finding.severity], highlight=False, markup=False)


# --- what is sent --------------------------------------------------------------------------------------------------


def _uploaded(api: Headway, data: Path, layout: Layout | None, *, shrink: bool | None) -> dict[str, Any]:
    if data.is_dir():
        with tempfile.TemporaryFile() as content:
            _pack(data, content, shrink=shrink)
            content.seek(0)
            with console.status("uploading"):
                return api.upload(f"{data.absolute().name}.zip", content, layout)
    with data.open("rb") as content, console.status("uploading"):
        file = api.upload(data.name, content, layout)
    _tell(Contents.model_validate(file["contents"]), [Finding.model_validate(found) for found in file["findings"]])
    return file


def _pack(folder: Path, into: IO[bytes], *, shrink: bool | None) -> None:
    before = weight(folder)
    if not (before > SHRUNK_FROM if shrink is None else shrink):
        with console.status("packing"):
            packed(folder, into)
        return
    with console.status("shrinking") as status:
        packed_small(folder, into, lambda done, of: status.update(f"shrinking {done}/{of} files"))
    print_plain(
        f"  sent are {into.tell() / 1e6:.0f} MB instead of {before / 1e6:.0f}: photographs with a short side of 512 "
        "(--no-shrink sends them as they are)"
    )


def _axis(text: str) -> tuple[str, list[float]]:
    """What `--sweep` says of one hyperparameter."""
    name, _, values = text.partition("=")
    try:
        numbers = [int(value) if value.strip().isdigit() else float(value) for value in values.split(",")]
    except ValueError:
        fail(f"--sweep {text}: give numbers, as in --sweep learning_rate=0.001,0.01")
    return name.strip().replace("-", "_"), numbers


def _print_trials(job: dict[str, Any]) -> None:
    axes = [name for name, values in job["sweep"].items() if values]
    table = Table("trial", *axes, "status", "val loss", "val accuracy")
    for trial in job["trials"]:
        metrics, best = trial["metrics"], trial["trial"] == job["best_trial"]
        numbers = [f"{trial['hyperparameters'][name]:g}" for name in axes]
        judged = ["" if metrics[name] is None else f"{metrics[name]:.4f}" for name in ("val_loss", "val_accuracy")]
        table.add_row(str(trial["trial"]), *numbers, trial["status"], *judged, style="bold" if best else "")
    console.print(table)
