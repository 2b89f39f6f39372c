"""`headway predict`: pictures of this machine, and what a model sees on them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from services.client.api import Headway
from services.client.folder import FolderError, names_in, understood
from services.client.options import ApiKey, AsJson, Url, service
from services.client.terminal import console, fail, print_json, print_plain, shown
from services.contract.errors import InvalidArchive
from services.contract.layout import GUESSED
from services.contract.prediction import BODY_BYTES, IMAGES
from services.datasets.pictures import HEAD, is_picture

app = typer.Typer()

AT_ONCE = 16  # images in a request: as many as go through the backbone together on two cores
MISTAKES = 20  # that are printed


@dataclass(frozen=True)
class Picture:
    """`label`: the one of its folder, where folders are named like the model's labels."""

    path: Path
    label: str | None = None


@dataclass(frozen=True)
class Looked:
    """The likeliest labels with their probabilities, or why there are none."""

    picture: Picture
    labels: list[tuple[str, float]]
    error: str | None

    @property
    def is_mistake(self) -> bool:
        return bool(self.labels) and self.picture.label is not None and self.labels[0][0] != self.picture.label


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="a model's id, a checkpoint's name, or the id of the job that made it")],
    images: Annotated[list[Path], typer.Argument(help="pictures, or folders of them", exists=True)],
    top_k: Annotated[int, typer.Option(min=1, max=100, help="labels for each picture")] = 1,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write all of it here, too")] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Ask a model what pictures show. A folder with a folder for each label tells how often it is right."""
    with service(url, api_key) as api:
        name = api.model_of(model)
        pictures = list(_found(images, api.model(name)["labels"] or []))
        if not pictures:
            fail("There are no pictures: give files, or folders that hold some.")
        looked = list(_looked(api, name, pictures, top_k, tell=not as_json))
    if csv_file is not None:
        _write(csv_file, looked, top_k)
    if as_json:
        print_json(map(_as_json, looked))
    elif any(one.picture.label is not None for one in looked):
        _tell_accuracy(looked)
    if all(one.error for one in looked):
        raise typer.Exit(1)


# --- what is asked -------------------------------------------------------------------------------------------------


def _found(given: Sequence[Path], labels: list[str]) -> Iterator[Picture]:
    for path in given:
        if path.is_dir():
            yield from _in_folder(path, set(labels))
        else:
            yield Picture(path)


def _in_folder(folder: Path, labels: set[str]) -> Iterator[Picture]:
    known = _labelled(folder)
    try:
        names = names_in(folder)
    except FolderError as error:
        fail(str(error))
    for name in names:
        with (folder / name).open("rb") as file:
            head = file.read(HEAD)
        if is_picture(name, head):
            label = known.get(name)
            yield Picture(folder / name, label if label in labels else None)


def _labelled(folder: Path) -> dict[str, str]:
    """Each picture's label, as the service would read the folder; none where it would see none."""
    try:
        return {image.path: image.label for image in understood(folder, GUESSED).images}
    except (InvalidArchive, FolderError):
        return {}


def _looked(api: Headway, model: str, pictures: list[Picture], top_k: int, *, tell: bool) -> Iterator[Looked]:
    with Progress(console=console, transient=True, disable=len(pictures) <= AT_ONCE) as bar:
        task = bar.add_task("looking", total=len(pictures))
        for some in _batches(pictures):
            answers = api.predict(model, [(one.path.name, one.path) for one in some], top_k)
            for picture, answer in zip(some, answers, strict=True):
                labels = [(found["label"], found["probability"]) for found in answer["labels"]]
                one = Looked(picture, labels, answer["error"] and answer["error"]["message"])
                if tell:
                    bar.console.print(_line(one), highlight=False, markup=False, soft_wrap=True)
                yield one
            bar.advance(task, len(some))


def _batches(pictures: list[Picture]) -> Iterator[list[Picture]]:
    """As many as a request may have, by number and by bytes."""
    some: list[Picture] = []
    size = 0
    for picture in pictures:
        more = picture.path.stat().st_size
        if some and (len(some) == min(AT_ONCE, IMAGES) or size + more > BODY_BYTES // 2):
            yield some
            some, size = [], 0
        some.append(picture)
        size += more
    if some:
        yield some


# --- what is told --------------------------------------------------------------------------------------------------


def _line(one: Looked) -> str:
    said = "  ".join(f"{shown(label)} {probability:.3f}" for label, probability in one.labels)
    return f"{shown(str(one.picture.path))}  {said if one.error is None else f'cannot be read: {shown(one.error)}'}"


def _tell_accuracy(looked: list[Looked]) -> None:
    """Of the pictures whose folder says their label: how many were right, and the surest mistakes."""
    judged = [one for one in looked if one.labels and one.picture.label is not None]
    wrong = sorted((one for one in judged if one.is_mistake), key=lambda one: -one.labels[0][1])
    right = len(judged) - len(wrong)
    print_plain(f"\naccuracy {right / max(1, len(judged)):.3f}: {right} of {len(judged)} pictures are right")
    for one in wrong[:MISTAKES]:
        label, probability = one.labels[0]
        taken = f"{shown(one.picture.label or '')} is taken for {shown(label)} ({probability:.3f})"
        print_plain(f"  {shown(str(one.picture.path))}: {taken}")
    if len(wrong) > MISTAKES:
        print_plain(f"  and {len(wrong) - MISTAKES} more; --csv FILE has all")


def _write(path: Path, looked: list[Looked], top_k: int) -> None:
    names = [f"{what}_{place}" for place in range(1, top_k + 1) for what in ("label", "probability")]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "folder", *names, "error"])
        for one in looked:
            cells = [cell for found in one.labels for cell in found]
            filled = [*cells, *[""] * (len(names) - len(cells))]
            rows.writerow([one.picture.path, one.picture.label or "", *filled, one.error or ""])
    print_plain(f"wrote {path}")


def _as_json(one: Looked) -> dict[str, Any]:
    labels = [{"label": label, "probability": probability} for label, probability in one.labels]
    return {"path": str(one.picture.path), "folder": one.picture.label, "labels": labels, "error": one.error}
