"""The Celery app and its one task: `python -m workers.main` checks its device, then works until it is drained."""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import signals
from redis.exceptions import RedisError

from services import __version__, tether
from services.contract.job import Worker
from services.contract.spec import JobSpec, Prepared
from services.settings import Settings, settings
from services.store import keys
from services.store.connection import is_away
from services.store.leases import LEASE, Fenced, Owner
from services.store.queue import TASK, celery
from services.store.store import Store, open_store, refusal_to_start
from services.store.workers import HEARTBEAT, Drain
from workers.spare import Spare
from workers.supervisor import Host, supervise, weights_source

log = logging.getLogger("headway.worker")

TORCHVISION_WEIGHTS = "resnet18-f37072fd"  # the file that ResNet18_Weights.DEFAULT names, with its hash
CELERY_OPTIONS = ("-P", "threads", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")
PATIENCE = LEASE - 5.0  # an attempt whose writes found no store for that long is over


@dataclass
class Me:
    """This worker: who it is, what it does now, whether it should stop."""

    device: str
    preflight: list[dict[str, Any]]
    spare: Spare
    id: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}")
    started_at: int = field(default_factory=lambda: int(time.time()))
    job: str | None = None
    taking: bool = False  # a job is looked for or worked on
    draining: threading.Event = field(default_factory=threading.Event)  # the job is handed on, and no other taken
    leaving: threading.Event = field(default_factory=threading.Event)  # no other is taken

    @property
    def owner(self) -> Owner:
        passed = self.preflight[-1]
        return Owner(self.id, self.device, weights_identity, list(passed["precisions"]), passed["auto"])

    def report(self) -> Worker:
        return Worker(
            id=self.id,
            device=self.device,
            kind=self.owner.kind,
            status="draining" if self.leaving.is_set() else "busy" if self.job else "idle",
            job=self.job,
            started_at=self.started_at,
            seen_at=int(time.time()),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            preflight=self.preflight,
        )


def main() -> int:
    """Preflight, heartbeat, work. Ends with 0 after a drain (SIGTERM or SIGINT), 1 if no device can be used."""
    config = settings()
    config.start_logging()
    _quieten_celery()
    if refusal := asyncio.run(refusal_to_start(config)):
        print(refusal, file=sys.stderr)
        return 1
    report = check_devices(config.device)
    if not report[-1]["ok"]:
        print(_refusal(report), file=sys.stderr)
        return 1
    me = Me(device=report[-1]["device"], preflight=report, spare=spare_trainer(report[-1], config))
    log.info("%s works on %s", me.id, me.device)
    me.spare.prepare()
    # One loop and one pool of connections for all that it does: a job would have to wait for its own.
    with (
        start_blocking_portal() as loop,
        loop.wrap_async_context_manager(open_store(config, patience=PATIENCE)) as store,
    ):
        try:
            _serve(me, config, store, loop)
        finally:
            me.spare.close()
            loop.call(_sign_off, me, store)
    return 0


def _quieten_celery() -> None:
    """That Redis is away is said once, by us; Celery and kombu say it at each try, with a traceback."""
    for name in ("kombu", "celery.worker", "celery.worker.consumer.consumer", "py.warnings"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _serve(me: Me, config: Settings, store: Store, loop: BlockingPortal) -> None:
    """Returns once it is drained."""
    app = celery(config.store_url)
    beating: list[Future[None]] = []

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def train() -> None:
        """There is work: do one job of it."""
        me.taking = True  # before it looks whether it may: whoever asks it to leave looks the other way round
        try:
            loop.call(_work, me, config, store)
        finally:
            me.taking = False
            if me.leaving.is_set():
                _leave(me)
            else:
                me.spare.prepare()  # now: before, it would have taken the running job's time

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: Any) -> None:
        me.leaving.set()
        me.draining.set()

    @signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def report(**_: Any) -> None:
        beating.append(loop.start_task_soon(_heartbeat, me, config, store))

    queues = ",".join(keys.train_queue(kind) for kind in ("any", me.owner.kind))
    try:
        app.worker_main(["--quiet", "worker", "-Q", queues, "-n", me.id, "-l", "WARNING", *CELERY_OPTIONS])
    finally:
        for heart in beating:
            heart.cancel()


async def _work(me: Me, config: Settings, store: Store) -> None:
    try:
        claim = None if me.leaving.is_set() else await store.leases.claim_next(me.owner)
    except RedisError as error:
        log.warning("nothing was claimed (%s); the reaper will say again that there is work", type(error).__name__)
        return
    if claim is None:
        return  # another worker was faster, or the work is for others: the message was only a hint
    me.job = claim.job
    try:
        await supervise(store, claim, config, Host(me.spare.take, me.draining.is_set, me.leaving.set))
    except (RedisError, Fenced) as error:
        log.warning("%s: this attempt's end is the reaper's to say (%s)", claim.job, type(error).__name__)
    finally:
        me.job = None


async def _heartbeat(me: Me, config: Settings, store: Store) -> None:
    """Report every few seconds; a wish to drain is carried out as if it were a SIGTERM."""
    while True:
        try:
            _carry_out(await store.workers.report(me.report()), me)
            config.show_alive()
        except Exception as error:  # whatever it is: a worker that is not heard of is replaced
            if not is_away(error):
                log.exception("no heartbeat")
        await asyncio.sleep(HEARTBEAT)


def _carry_out(wish: Drain, me: Me) -> None:
    if wish is not Drain.NO:
        me.leaving.set()
        if wish is Drain.NOW or not me.taking:
            _leave(me)


def _leave(me: Me) -> None:
    """As a SIGTERM from outside would have it."""
    if not me.draining.is_set():
        me.draining.set()
        os.kill(os.getpid(), signal.SIGTERM)


async def _sign_off(me: Me, store: Store) -> None:
    """A drained worker is gone at once, not when its heartbeat expires."""
    with contextlib.suppress(RedisError):
        await store.workers.remove(me.id)


def check_devices(device: str) -> list[dict[str, Any]]:
    """Preflight in a process of its own, so that this one needs no torch: a report for each device tried."""
    command = [sys.executable, "-m", "workers.trainer.preflight", device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, start_new_session=True, check=False)
    with contextlib.suppress(ValueError):
        return list(json.loads(done.stdout))
    check = {
        "check": "start",
        "ok": False,
        "detail": f"the preflight ended with {done.returncode}: is torch installed?",
    }
    return [{"device": device, "model": "", "ok": False, "checks": [check]}]


def spare_trainer(report: dict[str, Any], config: Settings) -> Spare:
    """As a job that asks for nothing would need it."""
    weights = weights_source(config.job_weights, config)
    return Spare(Prepared(device=report["device"], weights=weights, precision=report["auto"]), config.spare_memory)


def weights_identity(spec: JobSpec) -> str:
    """The weights that this worker would use for a job, named by their hash."""
    source = weights_source(spec.weights, settings())
    if source.startswith("random:"):
        return source
    return TORCHVISION_WEIGHTS if source == "torchvision" else _file_sha256(source)


@cache
def _file_sha256(path: str) -> str:
    try:
        return "sha256:" + hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return f"unreadable:{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def _refusal(report: list[dict[str, Any]]) -> str:
    failed = [f"{r['device']}: {c['check']}: {c['detail']}" for r in report for c in r["checks"] if not c["ok"]]
    return "No device can be used. " + "; ".join(failed)


if __name__ == "__main__":
    tether.hold_if_asked()
    sys.exit(main())
