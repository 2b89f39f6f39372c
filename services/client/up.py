"""`headway up`: everything on this machine, and a first classifier before the user's eyes."""

import os
import signal
import sys
import threading
import time
import webbrowser
from functools import partial
from types import FrameType
from typing import NoReturn

import httpx

from services import __version__, datafolder
from services.client import stack
from services.client.api import ApiError, Headway
from services.client.sample import run_sample, tell_result
from services.client.terminal import console, fail
from services.client.verdict import tell_verdict
from services.environment import environment
from services.settings import Settings


def serve(
    config: Settings, *, workers: int, autoscaler: bool, sample: bool, exit_after_sample: bool, opens: bool
) -> None:
    """Until Ctrl-C, or until the sample is trained. `opens` the page where a person sits before a screen."""
    _end_softly_on_signals()
    os.umask(0o077)  # what is kept is this user's alone
    try:
        say = partial(console.print, highlight=False)
        with stack.running(config, workers=workers, autoscaler=autoscaler, say=say) as running:
            _announce(running)
            if opens and not exit_after_sample:
                _open_page(running.url)
            if sample and workers:
                _tell_first_worker(running)
            if sample:
                _sample(running)
            if not exit_after_sample:
                console.print(f"Serving on [bold]{running.url}[/]. Ctrl-C stops it; nothing is lost.", highlight=False)
                _watch(running)
    except KeyboardInterrupt:
        console.print("Stopped; nothing is lost.", highlight=False)
    except (stack.StackError, ApiError, httpx.TransportError) as error:
        fail(str(error) or type(error).__name__)


def _announce(running: stack.Stack) -> None:
    store = "embedded Valkey" if "unix://" in running.settings.store_url else "your Redis"
    console.print(
        f"[bold]Headway {__version__}[/] at [bold]{running.url}[/]  (docs: {running.url}/docs)", highlight=False
    )
    console.print(
        f"  data in {running.settings.data_dir}, store: {store}", style="dim", highlight=False, soft_wrap=True
    )
    for other in datafolder.others(running.settings.data_dir):
        console.print(
            f"  older data in {other} are not used: HEADWAY_DATA_DIR={other} takes them",
            style="dim",
            highlight=False,
            soft_wrap=True,
        )
    if days := running.settings.retention_days:
        console.print(f"  ended jobs and their models are deleted after {days:g} days", style="dim", highlight=False)


def _open_page(url: str) -> None:
    """In the browser of whoever sits here; not through SSH, nor where there is no screen."""
    seen = environment()
    has_screen = sys.platform == "darwin" or "DISPLAY" in seen or "WAYLAND_DISPLAY" in seen
    if sys.stdout.isatty() and has_screen and "SSH_CONNECTION" not in seen:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()  # some browsers take their time


def _sample(running: stack.Stack) -> None:
    with _service(running) as api:
        with stack.watched(running):
            job = run_sample(api, console)
        if job["status"] != "succeeded":
            raise stack.StackError(f"The sample {job['status']}: {job['status_reason']['message']}")
        tell_verdict(api, job, console)
        tell_result(job, running.url, running.settings.files_at, console)


def _tell_first_worker(running: stack.Stack) -> None:
    with (
        _service(running) as api,
        console.status("checking the device (preflight)"),
    ):
        while not (found := api.workers()):
            running.check()
            time.sleep(0.2)
    console.print(f"  worker on {found[0]['device']}: preflight passed", style="dim", highlight=False)


def _watch(running: stack.Stack) -> NoReturn:
    while True:
        running.check()
        time.sleep(running.settings.timing.watch_every)


def _end_softly_on_signals() -> None:
    """SIGTERM and SIGHUP stop the stack in order, as Ctrl-C does; it too where a shell has us ignore it, as in `&`. A
    SIGHUP that `nohup` has us ignore stays ignored."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, stop)


def _service(running: stack.Stack) -> Headway:
    return Headway(running.url, running.settings.api_key, running.settings.timing)
