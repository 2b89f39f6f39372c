"""Celery's own round trip on the same Valkey, for comparison: `python -m tests.benchmarks.echo URL` is its worker."""

import sys
import time

from celery import Celery

from services.contract.timing import Timing
from services.store.hints import celery
from workers.main import CELERY_OPTIONS

QUEUE = "echo"


def app(url: str) -> Celery:
    made = celery(url, Timing())
    made.conf.update(result_backend=url.replace("unix://", "redis+socket://"), task_ignore_result=False)

    @made.task(name="echo")  # type: ignore[untyped-decorator]
    def echo() -> float:
        return time.time()

    return made


def seconds_to_a_worker(sender: Celery) -> float:
    """From the sending of a task to its start on a worker."""
    sent = time.time()
    return float(sender.send_task("echo", queue=QUEUE).get(timeout=30)) - sent


if __name__ == "__main__":
    app(sys.argv[1]).worker_main(["--quiet", "worker", "-Q", QUEUE, "-n", "echo", "-l", "ERROR", *CELERY_OPTIONS])
