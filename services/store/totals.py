"""What the scripts count, from the store's first day on: the names stand here, and a job's scripts refuse any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.contract.transitions import ENDED, Status
from services.store import keys
from services.store.commands import Redis


class Count(StrEnum):
    SUBMITTED = "submitted"
    STARTED = "started"  # jobs, with their first attempt
    WAITED_MS = "waited_ms"  # from a submission to its first attempt
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ATTEMPTS = "attempts"
    ATTEMPTS_LOST = "attempts_lost"
    ATTEMPTS_HANDED_ON = "attempts_handed_on"
    DEVICE_MS = "device_ms"
    SHARDS_HELPED = "shards_helped"  # of passes, by workers that do not own the job
    WEBHOOKS_DELIVERED = "webhooks_delivered"
    WEBHOOKS_FAILED = "webhooks_failed"  # given up
    WEBHOOKS_DROPPED = "webhooks_dropped"  # a tenant had as many deliveries as it may
    FEATURE_HITS = "feature_hits"
    FEATURE_MISSES = "feature_misses"
    FEATURE_MS_SAVED = "feature_ms_saved"


class KindCount(StrEnum):
    """By device kind; the autoscaler's."""

    WORKERS_STARTED = "started"
    WORKERS_DRAINED = "drained"

    def of(self, kind: str) -> str:
        return f"{self}:{kind}"


@dataclass(frozen=True)
class Totals:
    counts: Mapping[str, int]

    def __getitem__(self, count: Count) -> int:
        return self.counts.get(count, 0)

    def of_kind(self, count: KindCount, kind: str) -> int:
        return self.counts.get(count.of(kind), 0)

    @property
    def ends(self) -> dict[Status, int]:
        return {status: self[Count(status)] for status in sorted(ENDED)}


async def read_totals(redis: Redis) -> Totals:
    return Totals({name.decode(): int(count) for name, count in (await redis.hgetall(keys.TOTALS)).items()})
