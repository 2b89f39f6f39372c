"""The Celery app and its one task: `python -m workers.main` checks its device, then works until it is drained."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import signals
from pydantic import ValidationError
from redis.exceptions import RedisError

from services.contract.preflight import DEVICE_REPORTS, Check, DeviceReport
from services.contract.spec import Prepared
from services.process import tether
from services.settings import Settings, settings
from services.store import keys
from services.store.connection import is_away
from services.store.hints import TASK, celery
from services.store.leases import Fenced
from services.store.store import Store, open_store, refusal_to_start
from services.store.workers import Drain
from workers.duty import Duty
from workers.spare import Spare
from workers.supervisor import supervise
from workers.worker import LocalWorker

log = logging.getLogger("headway.worker")

CELERY_OPTIONS = ("-P", "threads", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")


def main() -> int:
    """Preflight, heartbeat, work. Ends with 0 after a drain (SIGTERM or SIGINT), 1 if no device can be used."""
    config = settings()
    config.start_logging()
    _quieten_celery()
    if refusal := asyncio.run(refusal_to_start(config)):
        print(refusal, file=sys.stderr)
        return 1
    preflight = check_devices(config.device)
    if not preflight[-1].ok:
        print(_refusal(preflight), file=sys.stderr)
        return 1
    worker = LocalWorker(preflight, config, Duty(_end_process))
    log.info("%s works on %s", worker.profile.id, worker.profile.device)
    with contextlib.closing(spare_trainer(preflight[-1], config)) as spare:
        spare.prepare()
        _work_until_drained(worker, spare, config)
    return 0


def check_devices(device: str) -> list[DeviceReport]:
    """Preflight in a process of its own, so that this one needs no torch: a report for each device tried."""
    command = [sys.executable, "-m", "workers.vision.preflight", device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, start_new_session=True, check=False)
    with contextlib.suppress(ValidationError):
        return DEVICE_REPORTS.validate_json(done.stdout)
    detail = f"the preflight ended with {done.returncode}: is torch installed?"
    return [DeviceReport(device=device, model="", ok=False, checks=[Check(check="start", ok=False, detail=detail)])]


def spare_trainer(passed: DeviceReport, config: Settings) -> Spare:
    """As a job that asks for nothing would need it."""
    weights = config.weights_source(config.job_weights)
    prepared = Prepared(device=passed.device, weights=weights, precision=passed.auto or "fp32")
    return Spare(prepared, config.spare_memory)


def _quieten_celery() -> None:
    """That Redis is away is said once, by us; Celery and kombu say it at each try, with a traceback."""
    for name in ("kombu", "celery.worker", "celery.worker.consumer.consumer", "py.warnings"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _work_until_drained(worker: LocalWorker, spare: Spare, config: Settings) -> None:
    """One loop and one pool of connections for all that it does: a job would have to wait for its own."""
    with (
        start_blocking_portal() as loop,
        loop.wrap_async_context_manager(open_store(config, patience=config.timing.attempt_patience)) as store,
    ):
        try:
            _consume(worker, spare, config, store, loop)
        finally:
            loop.call(_sign_off, worker, store)


def _consume(worker: LocalWorker, spare: Spare, config: Settings, store: Store, loop: BlockingPortal) -> None:
    """Celery's consumer, until it was told to end."""
    app = celery(config.store_url, config.timing)
    beating: list[Future[None]] = []

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def train() -> None:
        """There is work: do one job of it."""
        if not worker.duty.begin():
            return
        try:
            loop.call(_do_one_job, worker, spare, config, store)
        finally:
            worker.duty.end()
            if worker.duty.takes_jobs:
                spare.prepare()  # now: before, it would have taken the running job's time

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: Any) -> None:
        worker.duty.process_ends()

    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def report(**_: Any) -> None:
        beating.append(loop.start_task_soon(heartbeat, worker, config, store))

    profile = worker.profile
    queues = ",".join(keys.train_queue(kind) for kind in ("any", profile.kind))
    try:
        app.worker_main(["--quiet", "worker", "-Q", queues, "-n", profile.id, "-l", "WARNING", *CELERY_OPTIONS])
    finally:
        for heart in beating:
            heart.cancel()


async def _do_one_job(worker: LocalWorker, spare: Spare, config: Settings, store: Store) -> None:
    try:
        claim = await store.leases.claim_next(worker.profile)
    except RedisError as error:
        log.warning("nothing was claimed (%s); the reaper will say again that there is work", type(error).__name__)
        return
    if claim is None:
        return  # another worker was faster, or the work is for others: the message was only a hint
    worker.job = claim.job
    try:
        await supervise(store, claim, config, worker.duty, spare.take)
    except (RedisError, Fenced) as error:
        log.warning("%s: this attempt's end is the reaper's to say (%s)", claim.job, type(error).__name__)
    finally:
        worker.job = None


async def heartbeat(worker: LocalWorker, config: Settings, store: Store) -> None:
    """Report every few seconds; a wish to drain is carried out as if it were a SIGTERM."""
    while True:
        try:
            match await store.workers.report(worker.report()):
                case Drain.NOW:
                    worker.duty.drain()
                case Drain.AFTER_JOB:
                    worker.duty.leave()
            config.show_alive()
        except Exception as error:  # whatever it is: a worker that is not heard of is replaced
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
