"""The Celery app and its one task: `python -m workers.main` checks its device, then works until it is drained."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import signals
from pydantic import ValidationError
from redis.exceptions import RedisError

from services import tracing
from services.contract.preflight import DEVICE_REPORTS, Check, DeviceReport
from services.contract.spec import Prepared
from services.process import tether
from services.process.managed import REPLACE_ME
from services.settings import Settings, settings
from services.store import keys
from services.store.broker import TASK, Consumption
from services.store.connection import is_away
from services.store.hints import celery
from services.store.store import Store, open_store, refusal_to_start
from services.store.workers import Drain
from workers.duty import Duty
from workers.forgetting import forget_again_and_again
from workers.helping import Helping
from workers.spare import Spare
from workers.taking import Taking
from workers.worker import LocalWorker
from workers.zygote import Start, Starter, discard

log = logging.getLogger("headway.worker")

CELERY_OPTIONS = ("-P", "threads", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")


def main() -> int:
    """Preflight, heartbeat, work. Ends with 0 after a drain (SIGTERM or SIGINT), 1 if no device can be used, REPLACE_ME
    where another in its place would do better."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as the first process of a container, none would end it
    config = settings()
    config.start_logging()
    tracing.start("headway-worker")
    _quieten_celery()
    if refusal := asyncio.run(refusal_to_start(config)):
        print(refusal, file=sys.stderr)
        return 1
    with contextlib.closing(Starter.here(config)) as start:
        preflight = check_devices(config.device, config.data_dir / "preflight", start)
        if not preflight[-1].ok:
            print(_refusal(preflight), file=sys.stderr)
            return 1
        worker = LocalWorker(preflight, config, Duty(_end_process), Consumption(config.timing.retry_last))
        log.info("%s works on %s", worker.profile.id, worker.profile.device)
        with contextlib.closing(spare_trainer(preflight[-1], config, start)) as spare:
            spare.prepare()
            return _work_until_drained(worker, spare, start, config)


def check_devices(device: str, kept: Path, start: Start) -> list[DeviceReport]:
    """Preflight in a process of its own, so that this one needs no torch: a report for each device tried. `kept` is
    the folder where it keeps what it found."""
    process = start("workers.vision.preflight", device, str(kept), "--tethered")
    assert process.stdout is not None
    try:
        told, status = process.stdout.read(), process.wait()
    finally:
        discard(process)
    with contextlib.suppress(ValidationError):
        return DEVICE_REPORTS.validate_json(told)
    detail = f"the preflight ended with {status}: is torch installed?"
    return [DeviceReport(device=device, model="", ok=False, checks=[Check(check="start", ok=False, detail=detail)])]


def spare_trainer(passed: DeviceReport, config: Settings, start: Start) -> Spare:
    """As a job that asks for nothing would need it."""
    weights = config.weights_source(config.job_weights)
    precision = passed.auto or "fp32"
    engine = passed.precisions[precision].engine
    prepared = Prepared(device=passed.device, weights=weights, precision=precision, engine=engine)
    return Spare(prepared, config.spare_memory, start)


def _quieten_celery() -> None:
    """That Redis is away is said once, by us; Celery and kombu say it at each try, with a traceback."""
    for name in ("kombu", "celery.worker", "celery.worker.consumer.consumer", "py.warnings"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _work_until_drained(worker: LocalWorker, spare: Spare, start: Start, config: Settings) -> int:
    """One loop and one pool of connections for all that it does: a job would have to wait for its own.

    The exit status: not 0 where Celery's consumer ended unasked, so that this worker is replaced.
    """
    with (
        start_blocking_portal() as loop,
        loop.wrap_async_context_manager(open_store(config, patience=config.timing.attempt_patience)) as store,
    ):
        taking = Taking(worker, spare, Helping(worker, config, store, start), config, store)
        going_on: list[Future[Any]] = [
            loop.start_task_soon(heartbeat, worker, config, store),
            loop.start_task_soon(taking.look_again_and_again),
            loop.start_task_soon(_watch_consumer, worker, config),
            loop.start_task_soon(forget_again_and_again, store, config),
        ]
        _end_well_before_celery_listens(worker)
        try:
            _consume(worker, taking, config, loop)
            was_asked = worker.duty.is_draining
        finally:
            worker.duty.process_ends()
            loop.call(taking.has_ended)
            for task in going_on:
                task.cancel()
            loop.call(_sign_off, worker, store)
            tracing.stop(config.timing.traces_sent)
    if not was_asked:
        log.critical("Celery's consumer ended unasked: this worker ends, to be replaced")
    return 0 if was_asked else REPLACE_ME


def _end_well_before_celery_listens(worker: LocalWorker) -> None:
    """It is heard of, and may have a job, before Celery has set its own handlers."""

    def end(signum: int, frame: FrameType | None) -> None:
        worker.duty.process_ends()
        raise SystemExit(0)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)


def _consume(worker: LocalWorker, taking: Taking, config: Settings, loop: BlockingPortal) -> None:
    """Celery's consumer, until it was told to end."""
    app = celery(config.store_url, config.timing, worker.consumption)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def train() -> None:
        """There is work: do one job of it."""
        loop.call(taking.take)

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: Any) -> None:
        worker.duty.process_ends()

    profile = worker.profile
    queues = ",".join(keys.train_queue(kind) for kind in ("any", profile.kind))
    app.worker_main(["--quiet", "worker", "-Q", queues, "-n", profile.id, "-l", "WARNING", *CELERY_OPTIONS])


async def _watch_consumer(worker: LocalWorker, config: Settings) -> None:
    """One that hangs leaves the worker to its own looks at the line: it goes on, is told of, and is replaced once
    no job is worked on."""
    while True:
        await asyncio.sleep(config.timing.heartbeat)
        heard_for = 0.0 if worker.heard_since is None else time.monotonic() - worker.heard_since
        silence = min(worker.consumption.silence, heard_for)  # where Redis is away, the consumer is rightly silent
        if silence > config.timing.consumer_silence and worker.job is None:
            log.critical("Celery's consumer hangs: this worker ends, to be replaced")
            os._exit(REPLACE_ME)


async def heartbeat(worker: LocalWorker, config: Settings, store: Store) -> None:
    """Report every few seconds; a wish to drain is carried out as if it were a SIGTERM."""
    while True:
        try:
            match await store.workers.report(worker.report()):
                case Drain.NOW:
                    worker.duty.drain()
                case Drain.AFTER_JOB:
                    worker.duty.leave()
            worker.heard_since = worker.heard_since or time.monotonic()
            config.show_alive()
        except Exception as error:  # whatever it is: a worker that is not heard of is replaced
            worker.heard_since = None
            if not is_away(error):
                log.exception("no heartbeat")
        await asyncio.sleep(config.timing.heartbeat)


def _end_process() -> None:
    """As a SIGTERM from outside would have it."""
    os.kill(os.getpid(), signal.SIGTERM)


async def _sign_off(worker: LocalWorker, store: Store) -> None:
    """A drained worker is gone at once, not when its heartbeat expires."""
    with contextlib.suppress(RedisError):
        await store.workers.remove(worker.profile.id)


def _refusal(preflight: list[DeviceReport]) -> str:
    failed = [f"{r.device}: {check.check}: {check.detail}" for r in preflight for check in r.checks if not check.ok]
    return "No device can be used. " + "; ".join(failed)


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main())
