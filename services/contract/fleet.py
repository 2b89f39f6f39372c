"""The workers, the line of jobs, and what the autoscaler saw of both, decided, and why."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.contract.preflight import DeviceReport
from services.contract.units import DeviceKind, DeviceName, Object, UnixTime


class ForgottenTenant(BaseModel):
    """What went, of a tenant that leaves."""

    object: Object[Literal["tenant.deleted"]] = "tenant.deleted"
    tenant: str = Field(description="its name")
    jobs: int = Field(description="that went now")
    files: int = Field(description="that went now; none before all jobs are gone")
    stopping: int = Field(description="jobs whose trainer is still being stopped: ask again")


class Consumer(BaseModel):
    """A worker's reader of hints, which only hasten: without it, the worker looks at the line itself."""

    silent_seconds: float = Field(description="s since it last came by; more than some is a consumer that hangs")
    refusal: str | None = Field(None, description="what Redis said when it was last asked for hints, if it refused")


class Worker(BaseModel):
    """A worker's own report: what its device is, how its preflight went, what it does now."""

    id: str = Field(description="of this process: host, pid and four characters")
    object: Object[Literal["worker"]] = "worker"
    device: DeviceName
    kind: DeviceKind
    status: Literal["idle", "busy", "draining"] = Field(description='"draining": it takes no job any more')
    job: str | None = Field(description="that it works on; null where there is none, or it is not yours")
    helps: str | None = Field(
        None, description="the job whose features it helps to compute, while it is idle; null: none, or not yours"
    )
    started_at: UnixTime
    seen_at: int = Field(description="Unix time, s, of this report")
    host: str = Field(description="name of its machine or container")
    pid: int = Field(description="of its process, on that host")
    version: str = Field(description="of Headway")
    preflight: list[DeviceReport] = Field(description="of the devices that it tried; the last one is used")
    consumer: Consumer | None = Field(None, description="how its reader of hints fares")
    looked_at: int | None = Field(
        None, description="Unix time, s, of its last look at the line of jobs; null before the first"
    )


class Queue(BaseModel):
    """The line of jobs, of all tenants."""

    object: Object[Literal["queue"]] = "queue"
    queued: dict[str, int] = Field(description="jobs by what they wait for: any, cuda, mps or cpu")
    running: int = Field(description="jobs that a worker owns")


class Pool(BaseModel):
    """The bounds of one device kind's workers."""

    model_config = ConfigDict(frozen=True)

    kind: DeviceKind
    min: int = Field(description="workers")
    max: int = Field(description="workers")


class Decision(BaseModel):
    """For one device kind: the inputs, what follows from them, and the reason in a sentence."""

    model_config = ConfigDict(frozen=True)

    kind: DeviceKind
    at: float = Field(description="Unix time, s")
    queued: int = Field(description="jobs that wait for this kind, with its share of those that take any device")
    idle: int = Field(description="workers without a job")
    busy: int = Field(description="workers with a job")
    starting: int = Field(description="workers that have not reported yet")
    draining: int = Field(description="workers that take no job any more")
    failing: int = Field(description="workers that run and do not work: silent, or started again and again")
    failed_starts: int = Field(description="in a row: they brought no worker")
    helping: int = Field(0, description="workers that would shorten long passes over images, by more than they cost")
    needed: int = Field(description="workers that would leave no job waiting, and no pass long")
    target: int = Field(description="needed, at its highest within the cool-down, within min and max")
    start: int = Field(0, description="workers to start")
    drain: list[str] = Field(default=[], description="workers asked to end; an idle one as soon as it has no job")
    reason: str = Field(description="a sentence")

    @property
    def acts(self) -> bool:
        return self.start > 0 or bool(self.drain)


class AutoscalerReport(BaseModel):
    """The autoscaler's own report."""

    object: Object[Literal["autoscaler"]] = "autoscaler"
    alive: bool = Field(False, description="it looked within the last seconds")
    id: str | None = Field(
        None, description="of the process that looked last: host, pid and four characters; null if none ever did"
    )
    provider: str | None = Field(None, description='what its workers are: "process" or "compose" (containers)')
    seen_at: float | None = Field(None, description="Unix time, s, of the last look")
    pools: list[Pool] = Field([], description="the bounds that it keeps")
    now: list[Decision] = Field(default=[], description="of the last look, one a pool")
    decisions: list[Decision] = Field(default=[], description="those that started or drained workers, newest first")
    problem: str | None = Field(default=None, description="why workers cannot be started just now")


POOL = re.compile(r"(cuda|mps|cpu)=(\d{1,4})-(\d{1,4})")


def pools_of(autoscale: str) -> list[Pool]:
    """Raises ValueError with a sentence."""
    pools = []
    for part in autoscale.split(","):
        found = POOL.fullmatch(part.strip())
        if found is None or int(found[2]) > int(found[3]):
            raise ValueError(f'{part!r} is no device kind with its least and most workers, as in "cuda=0-1,cpu=0-2"')
        pools.append(Pool(kind=found[1], min=int(found[2]), max=int(found[3])))
    if len({pool.kind for pool in pools}) < len(pools):
        raise ValueError("a device kind is named twice")
    return pools
