"""The `headway` command."""

import os
import subprocess
import time
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from services import __version__
from services.client import backup, jobs, keys, predict, replay, train
from services.client.options import ApiKey, Url, service, with_options
from services.client.terminal import console, fail, shown
from services.client.up import serve
from services.contract.preflight import DEVICE_REPORTS, DeviceReport
from services.environment import environment, of_module
from services.settings import settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(train.app)
app.add_typer(predict.app)
app.add_typer(replay.app)
app.add_typer(jobs.app)
app.add_typer(backup.app)
app.add_typer(keys.app, name="keys")

Port = Annotated[int | None, typer.Option(help="HEADWAY_PORT")]
Device = Annotated[str | None, typer.Option(help="auto, cuda, cuda:N, mps or cpu (HEADWAY_DEVICE)")]
Autoscale = Annotated[
    str | None, typer.Option(help='least and most workers by device kind, "cuda=0-1,cpu=0-2" (HEADWAY_AUTOSCALE)')
]


@app.command()
def up(
    port: Port = None,
    data_dir: Annotated[Path | None, typer.Option(help="where everything is kept (HEADWAY_DATA_DIR)")] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=64, help="worker processes (1)")] = None,
    autoscale: Autoscale = None,
    device: Device = None,
    sample: Annotated[bool, typer.Option("--sample", help="first train the sample classifier")] = False,
    exit_after_sample: Annotated[bool, typer.Option("--exit-after-sample", help="train the sample, then stop")] = False,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="open the page, where a person sits")] = True,
) -> None:
    """Run everything on this machine and open its page: store, API, reaper and workers, until Ctrl-C."""
    config = with_options(settings(), port=port, data_dir=data_dir, device=device, autoscale=autoscale)
    fixed = workers if workers is not None else 0 if autoscale else 1
    sample = sample or exit_after_sample
    if not fixed and not autoscale and sample:
        fail("--workers 0 cannot train the sample: give it a worker, or leave --sample out.")
    scales = autoscale is not None
    serve(config, workers=fixed, autoscaler=scales, sample=sample, exit_after_sample=exit_after_sample, opens=opens)


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
    with service(url, api_key) as api, console.status("stopping its jobs"):
        while (gone := api.forget(tenant))["stopping"]:
            jobs += gone["jobs"]
            time.sleep(api.timing.client_pause)
    jobs += gone["jobs"]
    console.print(f"{jobs} jobs and {gone['files']} files of {tenant} are gone.", highlight=False)


@app.command()
def worker(device: Device = None) -> None:
    """Run one worker on HEADWAY_REDIS_URL until it is drained (Ctrl-C or SIGTERM)."""
    _become(of_module("workers.main"), with_options(settings(), device=device).as_environment())


@app.command()
def predictor(
    port: Annotated[int | None, typer.Option(help="HEADWAY_PREDICTOR_PORT")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or mps (HEADWAY_PREDICTOR_DEVICE)")] = None,
) -> None:
    """Run one more predictor, for an API whose HEADWAY_PREDICTOR_URL names it, until Ctrl-C or SIGTERM."""
    config = with_options(settings(), predictor_port=port, predictor_device=device)
    _become(of_module("workers.predictor"), config.environment_of_predictor())


@app.command()
def autoscaler(
    autoscale: Autoscale = None,
    provider: Annotated[
        Literal["process", "compose"] | None,
        typer.Option(help="workers as processes of this machine, or as containers (HEADWAY_AUTOSCALE_PROVIDER)"),
    ] = None,
) -> None:
    """Add workers on HEADWAY_REDIS_URL while jobs wait, and drain them when none do, until Ctrl-C or SIGTERM."""
    config = with_options(settings(), autoscale=autoscale, autoscale_provider=provider)
    _become(of_module("services.autoscaler"), config.as_environment())


@app.command()
def preflight(device: Device = None) -> None:
    """Check that this machine's device computes what it should."""
    command = of_module("workers.vision.preflight", with_options(settings(), device=device).device)
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


@app.command("version")
def version_() -> None:
    """The version."""
    print(__version__)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="the version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune image classifiers: the service, and its client."""


# --- what the commands share ---------------------------------------------------------------------------------------


def _print_preflight(report: DeviceReport) -> None:
    table = Table("check", "", "found", title=f"{report.device} {report.model}".strip(), title_justify="left")
    for check in report.checks:
        table.add_row(check.check, "[green]ok[/]" if check.ok else "[red]failed[/]", check.detail)
    for precision, computed in report.precisions.items():
        rate = f", {computed.images_per_second:g} img/s" if computed.images_per_second else ""
        table.add_row(
            f"features in {precision}",
            "[green]ok[/]",
            f"by {computed.engine}, agreement {computed.agreement:.6f}{rate}",
        )
    console.print(table)


def _become(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """This process from now on, so that signals reach the one that handles them."""
    os.execve(arguments[0], arguments, environment)


if __name__ == "__main__":
    app()
