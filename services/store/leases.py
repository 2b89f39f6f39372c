"""One owner at a time: claim, renew, release, finish, fail; and the reaper's side of it."""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue
from redis.exceptions import RedisError

from services.contract.errors import JobFailure
from services.contract.model import Result
from services.contract.preflight import Arithmetic, kind_of
from services.contract.recipe import Precision
from services.contract.spec import JobSpec
from services.contract.timing import Timing
from services.contract.transitions import Status
from services.store import keys
from services.store.commands import Redis, Value
from services.store.connection import is_away
from services.store.jobs import Jobs
from services.store.record import Binding, JobRecord
from services.store.scripts import Answer, Scripts
from services.store.workers import Drain


class TenantWaits(Exception):
    """It has as many jobs running, or as many bytes of checkpoints, as it may."""


class Fenced(Exception):
    """The job is another attempt's now, or gone: whatever this one still does is in vain."""


@dataclass(frozen=True)
class WorkerProfile:
    """A worker, as far as claims are concerned. `weights` names those that it would use for a job, by their hash;
    `precisions` are those that passed their check on its device, with how each is computed, and `auto` is the one for
    jobs that ask for none."""

    id: str
    device: str
    weights: Callable[[JobSpec], str]
    precisions: Mapping[Precision, Arithmetic]
    auto: Precision = "fp32"

    @property
    def kind(self) -> str:
        return kind_of(self.device)

    def binding(self, record: JobRecord) -> Binding:
        """To what a claim of this worker would bind the job: the first one's precision, where it can do that."""
        asked = record.spec.precision
        precision = self.auto if asked == "auto" else asked
        if record.binding and record.binding.precision in self.precisions:
            precision = record.binding.precision
        computed = self.precisions.get(precision)
        fingerprint = computed.fingerprint if computed else ""
        return Binding(kind=self.kind, precision=precision, weights=self.weights(record.spec), fingerprint=fingerprint)


@dataclass(frozen=True)
class Claim:
    """An attempt's title to its job: every write carries `fence` and `nonce`."""

    job: str
    tenant: str
    spec: JobSpec
    worker: WorkerProfile
    nonce: str
    fence: int
    attempt: int
    last_step: int  # losses at or before it were reported already
    last_val_step: int  # and validations
    checkpoint: int  # the last one's number, -1 if none
    device_seconds: float  # what earlier attempts used
    precision: Precision  # as the first claim resolved it
    # when the claim was sent, by time.monotonic(): the lease lasts from then at least
    sent: float = field(compare=False)
    trace: str | None = field(default=None, compare=False)  # the traceparent of its submission

    @property
    def title(self) -> list[Value]:
        return [self.fence, self.nonce]


@dataclass(frozen=True)
class Wish:
    """What a renewal brings back."""

    status: Status
    drain: bool


class Leases:
    def __init__(self, redis: Redis, scripts: Scripts, jobs: Jobs, timing: Timing) -> None:
        self._redis, self._scripts, self._jobs, self._timing = redis, scripts, jobs, timing

    async def claim_next(self, worker: WorkerProfile) -> Claim | None:
        """The first job in line that this worker may take, whatever message brought it here."""
        async for tenant, ids in self._jobs.line(("any", worker.kind)):
            async for id in ids:
                try:
                    claim = await self.claim(id, worker, tenant=tenant)
                except TenantWaits:
                    break
                except RedisError as error:
                    if is_away(error):
                        raise
                    await self._jobs.set_aside(id, f"It cannot be claimed: {error}", tenant)
                    continue
                if claim is not None:
                    return claim
        return None

    async def claim(
        self, id: str, worker: WorkerProfile, *, nonce: str | None = None, tenant: str | None = None
    ) -> Claim | None:
        """None if another worker was faster, the job has ended, or it waits for another kind of worker. Raises
        TenantWaits. `tenant`: in whose line it was found."""
        nonce = nonce or secrets.token_hex(8)
        record = await self._jobs.get(id)
        if record is not None and record.problem is not None:
            await self._jobs.set_aside(id, record.problem, tenant)
            return None
        binding = worker.binding(record).model_dump_json() if record else ""
        sent = time.monotonic()
        lease = _ms(self._timing.lease)
        args: list[Value] = [nonce, worker.id, worker.device, worker.kind, binding, lease, id, tenant or ""]
        answer, rest = await self._scripts("claim", keys.of_job(id, record.tenant if record else tenant or ""), args)
        if answer is Answer.WAITS:
            raise TenantWaits
        if answer is not Answer.OK:
            return None
        # Read again: an attempt may have moved on between the first look and the claim.
        record = await self._jobs.get(id)
        if record is None or record.binding is None:
            return None
        return Claim(
            job=id,
            tenant=record.tenant,
            spec=record.spec,
            worker=worker,
            nonce=nonce,
            fence=int(rest[0]),
            attempt=int(rest[1]),
            last_step=record.last_step,
            last_val_step=record.last_val_step,
            checkpoint=record.checkpoint,
            device_seconds=record.device_seconds,
            trace=record.trace,
            precision=record.binding.precision,
            sent=sent,
        )

    async def renew(self, claim: Claim) -> Wish:
        """One try, so that its caller knows when it was sent. Raises Fenced."""
        lease = _ms(self._timing.lease)
        rest = await write(self._scripts, "renew", claim, [lease], more_keys=[keys.worker(claim.worker.id)], patience=0)
        return Wish(Status(rest[0].decode()), drain=Drain(rest[1].decode()) is Drain.NOW)

    async def finish(self, claim: Claim, result: Result, message: str, data: Mapping[str, JsonValue]) -> None:
        """The model's record with it; `data` goes with the last event."""
        args: list[Value] = [result.model, result.model_dump_json(), message, json.dumps(dict(data))]
        more_keys = [keys.model(claim.job), keys.models_of(claim.tenant)]
        await write(self._scripts, "finish", claim, args, more_keys=more_keys)

    async def fail(self, claim: Claim, failure: JobFailure) -> None:
        await write(self._scripts, "fail", claim, [failure.code, str(failure), int(failure.retryable)])

    async def release(self, claim: Claim, code: str, message: str, *, counts: bool) -> Status:
        """Give the job back; `counts` if the attempt was lost rather than asked to stop."""
        rest = await write(self._scripts, "release", claim, [code, message, int(counts)])
        return Status(rest[0].decode())

    async def expired(self, *, shift: float = 0.0) -> list[str]:
        """Jobs whose lease has ended by Redis' clock, moved by `shift` seconds."""
        seconds, micros = await self._redis.time()
        now = seconds * 1000 + micros / 1000 + _ms(shift)
        return [id.decode() for id in await self._redis.zrangebyscore(keys.RUNNING, "-inf", now)]

    async def after_a_clock_that_went_back(self) -> int:
        """No lease or heartbeat ends later than one that is made now, and no delivery is due later; how many did."""
        longest = [_ms(self._timing.lease), _ms(self._timing.webhook_failed_kept)]
        _, rest = await self._scripts("clock_back", [keys.RUNNING, keys.WORKERS, keys.DUE], longest)
        return int(rest[0])

    async def reap(self, id: str, *, shift: float = 0.0) -> Status | None:
        """Where the job went, or None if there was nothing to reap."""
        answer, rest = await self._scripts("reap", await self._jobs.keys(id), [_ms(shift), id])
        return Status(rest[0].decode()) if answer is Answer.OK else None


async def write(
    scripts: Scripts,
    name: str,
    claim: Claim,
    args: Sequence[Value],
    *,
    more_keys: Sequence[str] = (),
    patience: float | None = None,
) -> list[bytes]:
    """A write in the name of an attempt. Raises Fenced where the title no longer holds, TenantWaits."""
    answer, rest = await scripts(
        name, [*keys.of_job(claim.job, claim.tenant), *more_keys], [*claim.title, *args], patience=patience
    )
    if answer is Answer.WAITS:
        raise TenantWaits
    if answer is not Answer.OK:
        raise Fenced(f"{claim.job} attempt {claim.attempt}: {name} answered {answer}")
    return rest


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
