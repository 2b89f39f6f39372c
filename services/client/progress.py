"""A job as a person watches it: a live bar while it runs, its warnings, and how it ended."""

from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Column

from services.client.api import Headway
from services.client.terminal import shown

WIDE = 100  # columns, from which on the bar is long
WARNING_LEVELS = {"warn": "yellow", "error": "red"}


def watch(api: Headway, job: str, console: Console) -> dict[str, Any]:
    """Follow a job to its end; the job as it is then."""
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=20 if console.width < WIDE else 32),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    ]
    with Progress(*columns, console=console) as bar:
        now = api.job(job)
        waits = now["status"] == "queued"
        why = now["status_reason"]["message"] if waits else ""
        task = bar.add_task(now["status"] if waits else "starting", total=100.0, facts=shown(why))
        try:
            for event in api.follow(job):
                _tell(event, bar, console)
                data = event.get("data") or {}
                if "phase" in data:
                    bar.update(task, completed=data["percent"], description=data["phase"], facts=_facts(data))
        except KeyboardInterrupt:
            bar.stop()
            console.print(
                f"Still training as {job}; `headway watch {job}` returns to it.", highlight=False, soft_wrap=True
            )
            raise typer.Exit(130) from None
        ended = api.job(job)
        if ended["status"] == "succeeded":
            bar.update(
                task, completed=100.0, description="done", facts=_facts(ended["progress"] | (ended["metrics"] or {}))
            )
    return ended


def _tell(event: dict[str, Any], bar: Progress, console: Console) -> None:
    """Messages stand above the bar; metrics are the bar."""
    if event["type"] == "message":
        style = WARNING_LEVELS.get(event["level"], "dim")
        bar.console.print(f"  {shown(event['message'])}", style=style, highlight=False, markup=False)
    elif not console.is_terminal and "val_accuracy" in (event.get("data") or {}):
        bar.console.print(f"  {shown(event['message'])}", style="dim", highlight=False, markup=False)


def _facts(data: dict[str, Any]) -> str:
    facts = []
    if data.get("phase") == "features" and data.get("total_images"):
        facts.append(f"{data['images']}/{data['total_images']} images")
    elif data.get("total_steps"):
        facts.append(f"step {data['step']}/{data['total_steps']}")
    if data.get("images_per_second"):
        facts.append(f"{data['images_per_second']:,.0f} images/s")
    if data.get("train_loss") is not None:
        facts.append(f"loss {data['train_loss']:.4f}")
    if data.get("val_accuracy") is not None:
        facts.append(f"val accuracy {data['val_accuracy']:.3f}")
    if data.get("eta_seconds"):
        facts.append(f"{_clock(data['eta_seconds'])} left")
    return " · ".join(facts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
