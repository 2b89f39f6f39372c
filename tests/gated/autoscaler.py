"""`python -m tests.gated.autoscaler`: the autoscaler, whose workers are gated ones."""

from functools import partial

from services.autoscaler import __main__ as start
from services.autoscaler.providers import process
from services.process import daemon

process.Processes = partial(process.Processes, module="tests.gated.worker")  # type: ignore[misc,assignment]

if __name__ == "__main__":
    daemon.main(start.work)
