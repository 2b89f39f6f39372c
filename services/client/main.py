"""The `headway` command."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import httpx
import typer
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from services import __version__
from services.client import keys
from services.client.api import ApiError, Headway, packed
from services.client.progress import watch
from services.client.terminal import console, fail, shown
from services.client.up import serve
from services.contract.preflight import DEVICE_REPORTS, DeviceReport
from services.settings import Settings, environment, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(keys.app, name="keys")

Port = Annotated[int | None, typer.Option(help="HEADWAY_PORT")]
Device = Annotated[str | None, typer.Option(help="auto, cuda, cuda:N, mps or cpu (HEADWAY_DEVICE)")]
Autoscale = Annotated[
    str | None, typer.Option(help='least and most workers by device kind, "cuda=0-1,cpu=0-2" (HEADWAY_AUTOSCALE)')
]
Url = Annotated[str | None, typer.Option(help="the service (HEADWAY_URL)")]
ApiKey = Annotated[str | None, typer.Option(help="your API key, where the service wants one (HEADWAY_API_KEY)")]


@app.command()
def up(
    port: Port = None,
    data_dir: Annotated[Path | None, typer.Option(help="where everything is kept (HEADWAY_DATA_DIR)")] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=64, help="worker processes (1)")] = None,
    autoscale: Autoscale = None,
    device: Device = None,
    sample: Annotated[bool, typer.Option("--sample", help="first train the sample classifier")] = False,
    exit_after_sample: Annotated[bool, typer.Option("--exit-after-sample", help="train the sample, then stop")] = False,
) -> None:
    """Run everything on this machine: store, API, reaper and workers, until Ctrl-C."""
    config = _with(settings(), port=port, data_dir=data_dir, device=device, autoscale=autoscale)
    fixed = workers if workers is not None else 0 if autoscale else 1
    sample = sample or exit_after_sample
    if not fixed and not autoscale and sample:
        fail("--workers 0 cannot train the sample: give it a worker, or leave --sample out.")
    serve(config, workers=fixed, autoscaler=autoscale is not None, sample=sample, exit_after_sample=exit_after_sample)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="a folder of label/image, or a zip, tar or tar.gz of one", exists=True)],
    learning_rate: Annotated[float | None, typer.Option()] = None,
    momentum: Annotated[float | None, typer.Option()] = None,
    n_epochs: Annotated[int | None, typer.Option()] = None,
    batch_size: Annotated[int | None, typer.Option()] = None,
    feature_scaling: Annotated[str | None, typer.Option(help="none or standard")] = None,
    weights: Annotated[str | None, typer.Option(help="default or random:N")] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="try them all: learning_rate=0.001,0.01; once for each axis of the grid")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="save the model here")] = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Upload images, train a classifier, watch it, and save the model."""
    hyperparameters = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "n_epochs": n_epochs,
        "batch_size": batch_size,
    }
    asked = hyperparameters | {"feature_scaling": feature_scaling, "weights": weights}
    body: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if sweep:
        body["sweep"] = dict(_axis(text) for text in sweep)
    with _service(url, api_key) as api:
        job = api.submit(body | {"training_file": _uploaded(api, data)})
        console.print(f"submitted {job['id']}", highlight=False)
        ended = watch(api, job["id"], console)
        _report(ended)
        if out is not None:
            api.download(ended["fine_tuned_model"], "pt", out)
            console.print(f"saved {out}", highlight=False)


@app.command()
def jobs(url: Url = None, api_key: ApiKey = None) -> None:
    """The newest jobs."""
    table = Table("job", "status", "progress", "accuracy", "why")
    with _service(url, api_key) as api:
        for job in api.jobs():
            accuracy = f"{job['evaluation']['accuracy']:.3f}" if job["evaluation"] else ""
            table.add_row(
                job["id"],
                job["status"],
                f"{job['progress']['percent']:.0f} %",
                accuracy,
                Text(shown(job["status_reason"]["message"])),
            )
    console.print(table)


@app.command()
def cancel(job: str, url: Url = None, api_key: ApiKey = None) -> None:
    """Stop a job for good."""
    with _service(url, api_key) as api:
        console.print(shown(api.cancel(job)["status_reason"]["message"]), highlight=False, markup=False)


@app.command()
def forget(
    tenant: Annotated[str, typer.Option(help="whose jobs, models and files go; where no keys are set, local")],
    yes: Annotated[bool, typer.Option("--yes", help="without asking")] = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete all that a tenant has (a key needs the right to operate). Revoke its keys first."""
    if not yes:
        typer.confirm(f"All jobs, models and files of {tenant} will be deleted, for good. Go on?", abort=True)
    jobs = 0
    with _service(url, api_key) as api, console.status("stopping its jobs"):
        while (gone := api.forget(tenant))["stopping"]:
            jobs += gone["jobs"]
            time.sleep(api.timing.client_pause)
    jobs += gone["jobs"]
    console.print(f"{jobs} jobs and {gone['files']} files of {tenant} are gone.", highlight=False)


@app.command()
def worker(device: Device = None) -> None:
    """Run one worker on HEADWAY_REDIS_URL until it is drained (Ctrl-C or SIGTERM)."""
    arguments = [sys.executable, "-m", "workers.main"]
    environment = _with(settings(), device=device).as_environment()
    _become(arguments, environment)


@app.command()
def autoscaler(
    autoscale: Autoscale = None,
    provider: Annotated[
        Literal["process", "compose"] | None,
        typer.Option(help="workers as processes of this machine, or as containers (HEADWAY_AUTOSCALE_PROVIDER)"),
    ] = None,
) -> None:
    """Add workers on HEADWAY_REDIS_URL while jobs wait, and drain them when none do, until Ctrl-C or SIGTERM."""
    config = _with(settings(), autoscale=autoscale, autoscale_provider=provider)
    _become([sys.executable, "-m", "services.autoscaler"], config.as_environment())


@app.command()
def preflight(device: Device = None) -> None:
    """Check that this machine's device computes what it should."""
    command = [sys.executable, "-m", "workers.vision.preflight", _with(settings(), device=device).device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        reports = DEVICE_REPORTS.validate_json(done.stdout)
    except ValidationError:
        fail("The preflight could not run: install torch and torchvision (`pip install 'headway[worker]'`).")
    for report in reports:
        _print_preflight(report)
    raise typer.Exit(done.returncode)


@app.command()
def doctor() -> None:
    """Look at what this environment may do to Headway, and say what to mend."""
    from services.client.doctor import findings  # only this command needs it

    table, colours = Table("", "", "found"), {"ok": "green", "note": "yellow", "wrong": "red"}
    wrong = False
    for finding in findings(settings(), environment()):
        wrong = wrong or finding.verdict == "wrong"
        table.add_row(finding.about, f"[{colours[finding.verdict]}]{finding.verdict}[/]", Text(shown(finding.said)))
    console.print(table)
    raise typer.Exit(int(wrong))


@app.command()
def version() -> None:
    """The version."""
    print(__version__)


# --- what the commands share ---------------------------------------------------------------------------------------


def _with(config: Settings, **options: Any) -> Settings:
    """The settings with what the command line says, checked like the rest."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings.model_validate(config.model_dump() | given)
    except ValidationError as error:
        problem = error.errors()[0]
        fail(f"--{str(problem['loc'][0]).replace('_', '-')}: {problem['msg'].removeprefix('Value error, ')}")


def _service(url: str | None, key: str | None) -> "_Service":
    config = _with(settings(), url=url, api_key=key)
    return _Service(config.url, config.api_key, config.timing)


class _Service(Headway):
    """A service whose errors end the command with a sentence."""

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> None:
        super().__exit__(kind, error, at)
        if isinstance(error, ApiError):
            fail(str(error))
        if isinstance(error, httpx.TransportError):
            fail(f"{self.url} cannot be reached: is `headway up` running there?")


def _uploaded(api: Headway, data: Path) -> str:
    if data.is_file():
        with data.open("rb") as content:
            return str(api.upload(data.name, content)["id"])
    with tempfile.TemporaryFile() as content, console.status("packing and uploading"):
        packed(data, content)
        content.seek(0)
        return str(api.upload(f"{data.absolute().name}.zip", content)["id"])


def _report(job: dict[str, Any]) -> None:
    if job["status"] != "succeeded":
        fail(f"The job {job['status']}: {job['status_reason']['message']}")
    if job["sweep"]:
        _print_trials(job)
    console.print(shown(job["status_reason"]["message"]), highlight=False, markup=False)


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


def _print_preflight(report: DeviceReport) -> None:
    table = Table("check", "", "found", title=f"{report.device} {report.model}".strip(), title_justify="left")
    for check in report.checks:
        table.add_row(check.check, "[green]ok[/]" if check.ok else "[red]failed[/]", check.detail)
    console.print(table)


def _become(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """This process from now on, so that signals reach the one that handles them."""
    os.execve(arguments[0], arguments, environment)


if __name__ == "__main__":
    app()
