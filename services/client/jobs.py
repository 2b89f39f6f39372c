"""Jobs and files from the command line: looked at, followed, wished upon, fetched, deleted."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from services.client.options import ApiKey, AsJson, Url, service
from services.client.progress import watch as watched
from services.client.terminal import console, print_json, print_plain, shown
from services.client.train import format_of, save, tell_end
from services.client.verdict import tell_verdict

app = typer.Typer()

Row = tuple[str | Text, ...]
Job = Annotated[str, typer.Argument(help="a job's id")]


@app.command()
def jobs(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """The newest jobs."""
    with service(url, api_key) as api:
        found = api.jobs()

    def row(job: dict[str, Any]) -> Row:
        percent, why = f"{job['progress']['percent']:.0f} %", Text(shown(job["status_reason"]["message"]))
        return job["id"], job["status"], percent, _accuracy(job), why

    _tell(found, ("job", "status", "progress", "accuracy", "why"), row, as_json=as_json)


@app.command()
def files(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Uploads, the newest first."""
    with service(url, api_key) as api:
        found = api.files()

    def row(file: dict[str, Any]) -> Row:
        images, labels = file["contents"]["images"], len(file["contents"]["labels"].get("train", {}))
        size = f"{file['bytes'] / 1e6:.1f}"
        return file["id"], Text(shown(file["filename"])), size, str(images), str(labels or "")

    _tell(found, ("file", "name", "MB", "images", "labels"), row, as_json=as_json)


@app.command()
def models(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Models, the newest first."""
    with service(url, api_key) as api:
        found = api.models()

    def row(model: dict[str, Any]) -> Row:
        formats = ", ".join(model["formats"])
        return model["id"], str(model["num_labels"]), _accuracy(model), model["job"], formats

    _tell(found, ("model", "labels", "accuracy", "job", "formats"), row, as_json=as_json)


@app.command()
def watch(job: Job, url: Url = None, api_key: ApiKey = None) -> None:
    """Follow a job to its end, from wherever it is."""
    with service(url, api_key) as api:
        ended = watched(api, job, console)
        tell_end(ended)
        tell_verdict(api, ended, console)


@app.command()
def logs(job: Job, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """All that a job said, oldest first."""
    with service(url, api_key) as api:
        events = api.events(job)
    if as_json:
        print_json(events)
        return
    for event in events:
        at = datetime.fromtimestamp(event["created_at"]).strftime("%Y-%m-%d %H:%M:%S")
        print_plain(f"{at} {event['level']:<5} {shown(event['message'])}")


@app.command()
def cancel(job: Job, url: Url = None, api_key: ApiKey = None) -> None:
    """Stop a job for good."""
    _wish(job, "cancel", url, api_key)


@app.command()
def pause(job: Job, url: Url = None, api_key: ApiKey = None) -> None:
    """Stop a job after a checkpoint, until it is resumed."""
    _wish(job, "pause", url, api_key)


@app.command()
def resume(job: Job, url: Url = None, api_key: ApiKey = None) -> None:
    """Put a paused job back in line, at its old place."""
    _wish(job, "resume", url, api_key)


@app.command()
def delete(
    id: Annotated[str, typer.Argument(help="the id of an ended job, of a model, or of a file")],
    yes: Annotated[bool, typer.Option("--yes", help="without asking")] = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete an ended job with its model and checkpoints, a model alone, or a file that no job needs."""
    if not yes:
        typer.confirm(f"{id} will be deleted, for good. Go on?", abort=True)
    with service(url, api_key) as api:
        api.delete(id)
    print_plain(f"{id} is gone.")


@app.command()
def download(
    model: Annotated[str, typer.Argument(help="a model's id, or that of the job that made it")],
    out: Annotated[
        Path | None, typer.Option(help="save it here: model.pt (if not given), .zip, .onnx or .safetensors")
    ] = None,
    format: Annotated[
        Literal["pt", "safetensors", "onnx", "zip"] | None, typer.Option(help="if not what the file's ending says")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Save a model, in a format that its job exported."""
    path = out or Path(f"model.{format or 'pt'}")
    with service(url, api_key) as api:
        save(api, api.model_of(model), format or format_of(path), path)


def _wish(job: str, action: str, url: str | None, api_key: str | None) -> None:
    with service(url, api_key) as api:
        print_plain(shown(api.wish(job, action)["status_reason"]["message"]))


def _tell(
    found: list[dict[str, Any]],
    columns: tuple[str, ...],
    row: Callable[[dict[str, Any]], Row],
    *,
    as_json: bool,
) -> None:
    """A list of the API's, as it gives it, or as a table whose ids are never cut."""
    if as_json:
        print_json(found)
        return
    table = Table()
    table.add_column(columns[0], no_wrap=True, overflow="fold")
    for name in columns[1:]:
        table.add_column(name)
    for one in found:
        table.add_row(*row(one))
    console.print(table)


def _accuracy(of: dict[str, Any]) -> str:
    return f"{of['evaluation']['accuracy']:.3f}" if of["evaluation"] else ""
