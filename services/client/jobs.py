"""Jobs and files from the command line: looked at, followed, wished upon, fetched, deleted."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from services.client.options import ApiKey, AsJson, Url, service
from services.client.progress import watch as watched
from services.client.terminal import console, print_plain, shown
from services.client.train import format_of, save, tell_end

app = typer.Typer()

Job = Annotated[str, typer.Argument(help="a job's id")]


@app.command()
def jobs(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """The newest jobs."""
    with service(url, api_key) as api:
        found = api.jobs()
    if as_json:
        _print_json(found)
        return
    table = _table("job", "status", "progress", "accuracy", "why")
    for job in found:
        accuracy = f"{job['evaluation']['accuracy']:.3f}" if job["evaluation"] else ""
        percent, why = f"{job['progress']['percent']:.0f} %", Text(shown(job["status_reason"]["message"]))
        table.add_row(job["id"], job["status"], percent, accuracy, why)
    console.print(table)


@app.command()
def files(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Uploads, the newest first."""
    with service(url, api_key) as api:
        found = api.files()
    if as_json:
        _print_json(found)
        return
    table = _table("file", "name", "MB", "images", "labels")
    for file in found:
        images, labels = file["contents"]["images"], len(file["contents"]["labels"].get("train", {}))
        size = f"{file['bytes'] / 1e6:.1f}"
        table.add_row(file["id"], Text(shown(file["filename"])), size, str(images), str(labels or ""))
    console.print(table)


@app.command()
def models(as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Models, the newest first."""
    with service(url, api_key) as api:
        found = api.models()
    if as_json:
        _print_json(found)
        return
    table = _table("model", "labels", "accuracy", "job", "formats")
    for model in found:
        accuracy = f"{model['evaluation']['accuracy']:.3f}" if model["evaluation"] else ""
        table.add_row(model["id"], str(model["num_labels"]), accuracy, model["job"], ", ".join(model["formats"]))
    console.print(table)


@app.command()
def watch(job: Job, url: Url = None, api_key: ApiKey = None) -> None:
    """Follow a job to its end, from wherever it is."""
    with service(url, api_key) as api:
        tell_end(watched(api, job, console))


@app.command()
def logs(job: Job, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """All that a job said, oldest first."""
    with service(url, api_key) as api:
        events = api.events(job)
    if as_json:
        _print_json(events)
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


def _table(id: str, *others: str) -> Table:
    """Ids are never cut."""
    table = Table()
    table.add_column(id, no_wrap=True, overflow="fold")
    for name in others:
        table.add_column(name)
    return table


def _print_json(objects: list[dict[str, Any]]) -> None:
    for one in objects:
        print(json.dumps(one, ensure_ascii=False))
