"""The workers, the line of jobs, and what the autoscaler saw of both, decided, and why."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.contract.preflight import DeviceReport


class ForgottenTenant(BaseModel):
    """What went, of a tenant that leaves."""

    object: Literal["tenant.deleted"] = "tenant.deleted"
    tenant: str
    jobs: int
    files: int
    stopping: int = Field(description="jobs whose trainer is still being stopped: ask again")


class Consumer(BaseModel):
    """A worker's reader of hints, which only hasten: without it, the worker looks at the line itself."""

    silent_seconds: float = Field(description="since it last came by; more than some is a consumer that hangs")
    refusal: str | None = Field(None, description="what Redis said when it was last asked for hints, if it refused")


class Worker(BaseModel):
    """A worker's own report: what its device is, how its preflight went, what it does now."""

    id: str
    object: Literal["worker"] = "worker"
    device: str
    kind: str
    status: Literal["idle", "busy", "draining"]
    job: str | None
    started_at: int
    seen_at: int
    host: str
    pid: int
    version: str
    preflight: list[DeviceReport]
    consumer: Consumer | None = None
    looked_at: int | None = Field(None, description="when it last looked at the line of jobs")


class Queue(BaseModel):
    """How many jobs wait, by the device kind that they wait for, and how many a worker owns."""

    object: Literal["queue"] = "queue"
    queued: dict[str, int]
    running: int


class Pool(BaseModel):
    """The bounds of one device kind's workers."""

    model_config = ConfigDict(frozen=True)

    kind: str
    min: int
    max: int


class Decision(BaseModel):
    """For one device kind: the inputs, what follows from them, and the reason in a sentence."""

    model_config = ConfigDict(frozen=True)

    kind: str
    at: float = Field(description="Unix time, s")
    queued: int = Field(description="jobs that wait for this kind, with its share of those that take any device")
    idle: int
    busy: int
    starting: int
    draining: int
    failing: int = Field(description="workers that run and do not work: silent, or started again and again")
    failed_starts: int = Field(description="in a row: they brought no worker")
    needed: int = Field(description="workers that would leave no job waiting")
    target: int = Field(description="needed, at its highest within the cool-down, within min and max")
    start: int = 0
    drain: list[str] = Field(default=[], description="workers asked to end; an idle one as soon as it has no job")
    reason: str

    @property
    def acts(self) -> bool:
        return self.start > 0 or bool(self.drain)


class AutoscalerReport(BaseModel):
    """The autoscaler's own report. `alive`: it looked within the last seconds."""

    object: Literal["autoscaler"] = "autoscaler"
    alive: bool = False
    id: str | None = None
    provider: str | None = None
    seen_at: float | None = None
    pools: list[Pool] = []
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
