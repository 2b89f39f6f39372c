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
from services.client.train import tell_end

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
    id: Annotated[str, typer.Argument(help="an ended job's id, or a file's")],
    yes: Annotated[bool, typer.Option("--yes", help="without asking")] = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete an ended job with its model and checkpoints, or a file that no job needs."""
    if not yes:
        typer.confirm(f"{id} will be deleted, for good. Go on?", abort=True)
    with service(url, api_key) as api:
        api.delete(id)
    print_plain(f"{id} is gone.")


@app.command()
def download(
    job: Job,
    out: Annotated[Path, typer.Option(help="save it here")] = Path("model.pt"),
    format: Annotated[
        Literal["pt", "safetensors", "onnx", "zip"], typer.Option(help="the whole model, or its head")
    ] = "pt",
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Save the model of a job that succeeded."""
    with service(url, api_key) as api:
        model = api.job(job)["fine_tuned_model"]
        if model is None:
            raise typer.BadParameter(f"{job} has no model: it has not succeeded")
        api.download(model, format, out)
    print_plain(f"saved {out}")


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
