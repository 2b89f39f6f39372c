"""Celery's own round trip on the same Valkey, for comparison: `python -m tests.benchmarks.echo URL` is its worker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from workers.main import CELERY_OPTIONS

QUEUE = "echo"


def app(url: str) -> Celery:
    """As Celery comes: our own transport would drop what is no hint."""
    address = url.replace("unix://", "redis+socket://")
    made = Celery("echo", broker=address, backend=address, set_as_current=False)

    @made.task(name="echo")  # type: ignore[untyped-decorator]
    def echo() -> float:
        return time.time()

    return made


@contextmanager
def worker(url: str) -> Iterator[Celery]:
    """One that has answered, and its sender."""
    with subprocess.Popen([sys.executable, "-m", "tests.benchmarks.echo", url]) as echoing:
        try:
            sender = app(url)
            seconds_to_a_worker(sender)
            yield sender
        finally:
            echoing.terminate()


def seconds_to_a_worker(sender: Celery) -> float:
    """From the sending of a task to its start on a worker."""
    sent = time.time()
    return float(sender.send_task("echo", queue=QUEUE).get(timeout=30)) - sent


if __name__ == "__main__":
    app(sys.argv[1]).worker_main(["--quiet", "worker", "-Q", QUEUE, "-n", "echo", "-l", "ERROR", *CELERY_OPTIONS])
