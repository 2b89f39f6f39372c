"""The end of an attempt: finished, failed, or handed on."""

import asyncio
import json
import logging
import signal
from contextlib import suppress

from services import tracing
from services.contract.errors import FilesUnavailable, InternalError, JobFailure
from services.contract.ids import model_id
from services.contract.lines import EXIT_STOPPED, DoneLine
from services.contract.model import Result
from services.contract.timing import Timing
from services.contract.transitions import Status
from services.store import places
from services.store.blobs import Blobs
from services.store.leases import Claim, Fenced
from services.store.store import Store
from workers import messages
from workers.child import TrainerExit
from workers.outcome import os_failure
from workers.relay import Relay

log = logging.getLogger(__name__)


async def settle(store: Store, relay: Relay, ended: TrainerExit, labels: list[str], timing: Timing) -> None:
    """Say the one end that fits what is known. Raises Fenced, RedisError."""
    claim, outcome = relay.claim, relay.outcome
    if outcome.fenced:
        log.warning("%s: attempt %d lost its title", claim.job, claim.attempt)
    elif outcome.cut_off:  # the trainer may even have ended well, for nobody
        await _hand_on(store, claim, "released", f"{outcome.cut_off}; the job waits for a worker.", counts=False)
    elif ended.status == 0 and outcome.done is not None:
        await _finish(store, relay, outcome.done, labels, timing)
    elif outcome.failed is not None:
        await fail(store, claim, outcome.failed, timing)
    elif outcome.lost is not None:
        await _hand_on(store, claim, outcome.lost.code, str(outcome.lost), counts=True)
    elif outcome.stop_asked or ended.status == EXIT_STOPPED:
        if ended.status == -signal.SIGKILL and not outcome.cancelled:
            within = f"The trainer did not stop within {timing.stop_grace:g} s and was killed"
            await relay.emit([messages.event("warn", f"{within}; its last checkpoint stands.")])
        await _hand_on(store, claim, "released", "The worker drains; the job waits for another.", counts=False)
    elif ended.status < 0:
        code = "out_of_memory" if ended.oom_killed else "worker_lost"
        await _hand_on(store, claim, code, f"The trainer was killed by signal {-ended.status}.", counts=True)
    else:
        message = f"The trainer ended with {ended.status} and said nothing; the worker's log has the details."
        await store.leases.fail(claim, InternalError(message))


async def fail(store: Store, claim: Claim, failure: JobFailure, timing: Timing) -> None:
    """For good, unless what failed is a store that will be there again. Raises Fenced, RedisError."""
    if isinstance(failure, FilesUnavailable):
        await asyncio.sleep(timing.files_pause)  # who takes it next would meet the same
        await _hand_on(store, claim, failure.code, f"{failure} The job waits for another attempt.", counts=False)
    else:
        await store.leases.fail(claim, failure)


async def _finish(store: Store, relay: Relay, done: DoneLine, labels: list[str], timing: Timing) -> None:
    """The exports go to the file store under this fence; only `finish` names them, and no others stay."""
    with tracing.span("store model"):
        await _keep(store, relay, done, labels, timing)


async def _keep(store: Store, relay: Relay, done: DoneLine, labels: list[str], timing: Timing) -> None:
    claim, blobs = relay.claim, store.blobs
    models, model = places.models(claim.tenant, claim.job), places.model(claim.tenant, claim.job, claim.fence)
    try:
        for name in done.exports.values():
            await asyncio.to_thread(blobs.put_file, places.export(model, name), relay.folder / name)
        await asyncio.to_thread(blobs.put, places.labels(model), json.dumps(labels).encode())
        if relay.outcome.evaluation is not None:
            whole = relay.outcome.evaluation.model_dump_json().encode()
            await asyncio.to_thread(blobs.put, places.evaluation(model), whole)
        if done.judged is not None:
            await asyncio.to_thread(blobs.put_file, places.judged(model), relay.folder / done.judged)
        await _say_finished(store, relay, done, model)
    except OSError as error:
        await _drop(blobs, model)
        await fail(store, claim, os_failure(error), timing)
    except Fenced:
        await _drop(blobs, model)
        raise
    else:
        with suppress(OSError):
            await asyncio.to_thread(blobs.keep_only, models, str(claim.fence))


async def _drop(blobs: Blobs, model: str) -> None:
    """What is left of it goes with the next one that is kept, or with its job."""
    with suppress(OSError):
        await asyncio.to_thread(blobs.delete_folder, model)


async def _say_finished(store: Store, relay: Relay, done: DoneLine, place: str) -> None:
    model = model_id(relay.claim.job, relay.claim.spec.suffix)
    exports = {format: places.export(place, name) for format, name in done.exports.items()}
    evaluation = relay.outcome.evaluation
    relay.progress = relay.progress.model_copy(update={"phase": "done", "percent": 100.0, "eta_seconds": 0.0})
    await relay.emit()
    message = f"Model {model} is ready" + (f": accuracy {evaluation.accuracy:.3f}." if evaluation else ".")
    data = {"model": model} | ({"accuracy": evaluation.accuracy, "split": evaluation.split} if evaluation else {})
    result = Result(
        model=model,
        place=place,
        exports=exports,
        receipt=done.receipt,
        training_file=relay.claim.spec.training_file,
        validation_file=relay.claim.spec.validation_file,
        evaluation=evaluation.in_short() if evaluation else None,
        temperature=done.temperature,
    )
    await store.leases.finish(relay.claim, result, message, data)


async def _hand_on(store: Store, claim: Claim, code: str, message: str, *, counts: bool) -> None:
    """Release the job; if it waits again, one message says that there is work."""
    status = await store.leases.release(claim, code, message, counts=counts)
    if status is Status.QUEUED:
        await store.hints.publish(claim.worker.kind)
