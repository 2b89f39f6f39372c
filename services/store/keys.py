"""Every Redis key, born here: its name, its type, how long it lives."""

from typing import Final

PREFIX: Final = "headway"

KINDS: Final = ("any", "cuda", "mps", "cpu")  # a queue each; "any" holds jobs that take whatever device comes


def job(id: str) -> str:
    """hash: the record. Until it is swept, HEADWAY_RETENTION_DAYS after its end."""
    return f"{PREFIX}:job:{id}"


def events(id: str) -> str:
    """stream, capped: what happened, `XADD <fence>-*`. Until the job, ended, is put away."""
    return f"{PREFIX}:job:{id}:events"


def feed(tenant: str) -> str:
    """stream, capped: where each event of a tenant's jobs lies. Forever."""
    return f"{PREFIX}:feed:{tenant}"


def series(id: str) -> str:
    """string: packed points, never trimmed (see `events.POINT`). Until the job, ended, is put away."""
    return f"{PREFIX}:job:{id}:series"


def checkpoints(id: str) -> str:
    """zset: what is known of each checkpoint, as JSON, by number. As long as the job."""
    return f"{PREFIX}:job:{id}:checkpoints"


def checkpoint(id: str, number: int) -> str:
    """string: a checkpoint's safetensors. Until it is neither best nor among the last few, or the job is put away."""
    return f"{PREFIX}:job:{id}:checkpoint:{number}"


def shards(id: str) -> str:
    """zset: shards of a pass that no helper has brought, by the end of their lease, ms; 0 free, inf the owner's. While
    the pass runs, or an hour."""
    return f"{PREFIX}:job:{id}:shards"


def brought(id: str) -> str:
    """list: segments that helpers have brought, as JSON. While the pass runs, or an hour."""
    return f"{PREFIX}:job:{id}:brought"


def helpers(id: str) -> str:
    """zset: workers that help with a pass, by the end of their lease, ms. While the pass runs, or an hour."""
    return f"{PREFIX}:job:{id}:helpers"


def model(job: str) -> str:
    """hash: the model that a job left. Until it, or its job, is deleted."""
    return f"{PREFIX}:model:{job}"


def models_of(tenant: str) -> str:
    """zset, lexical: ids of the jobs whose models a tenant has. Forever; members go with their models."""
    return f"{PREFIX}:models:tenant:{tenant}"


def jobs_of(tenant: str) -> str:
    """zset, lexical: a tenant's job ids. Forever; members go with their jobs."""
    return f"{PREFIX}:jobs:tenant:{tenant}"


def queued(kind: str) -> str:
    """zset: job ids by priority, then queue time. Members leave as they are claimed."""
    return f"{PREFIX}:jobs:queued:{kind}"


def queued_by(tenant: str, kind: str) -> str:
    """zset: a tenant's part of a queue, in the same order. Members leave as they are claimed."""
    return f"{PREFIX}:jobs:queued:{kind}:{tenant}"


def stored(tenant: str) -> str:
    """string: bytes of a tenant's uploads. Forever."""
    return f"{PREFIX}:files:stored:{tenant}"


def checkpoints_stored(tenant: str) -> str:
    """string: bytes of a tenant's checkpoints. Forever."""
    return f"{PREFIX}:checkpoints:stored:{tenant}"


def rate(tenant: str, what: str) -> str:
    """string: how often a tenant did it within this minute. A minute."""
    return f"{PREFIX}:rate:{what}:{tenant}"


def webhooks_of(tenant: str) -> str:
    """hash: a tenant's webhooks with their secrets, as JSON, by id. Until they are deleted."""
    return f"{PREFIX}:webhooks:tenant:{tenant}"


def deliveries_of(tenant: str) -> str:
    """hash, capped: what its webhooks were and are to be told, as JSON, by id. Some days, or until they are deleted."""
    return f"{PREFIX}:webhooks:deliveries:{tenant}"


LOOKED: Final = f"{PREFIX}:webhooks:looked"  # string: when a sender last found some that were due, ms. A day
DUE: Final = f"{PREFIX}:webhooks:due"  # zset: "tenant delivery" by when something is to be done with it, ms
TURNS: Final = f"{PREFIX}:jobs:turns"  # zset: tenants with waiting jobs, by claims so far over their weight
HELD: Final = f"{PREFIX}:jobs:held"  # hash: how many jobs workers own, by tenant; under " turn", who was served last
SHARED: Final = f"{PREFIX}:jobs:shared"  # zset: job ids whose passes may be helped with, by when they began, ms
RUNNING: Final = f"{PREFIX}:jobs:running"  # zset: job ids by the end of their lease, ms
ASIDE: Final = f"{PREFIX}:jobs:aside"  # hash: why, by job id, of those that cannot be read. Until they can, or go
ENDED: Final = f"{PREFIX}:jobs:ended"  # zset: job ids by the time of their end, s. Until they are put away, or go
PUT_AWAY: Final = f"{PREFIX}:jobs:put_away"  # zset: likewise, of those whose history lies in the store of bytes


def file(id: str) -> str:
    """hash: a file's record. Forever."""
    return f"{PREFIX}:file:{id}"


def files_of(tenant: str) -> str:
    """zset, lexical: a tenant's file ids. Forever."""
    return f"{PREFIX}:files:tenant:{tenant}"


def files_turn(tenant: str) -> str:
    """string: the lock of who changes which bytes a tenant has, SET NX PX."""
    return f"{PREFIX}:files:turn:{tenant}"


FORGOTTEN: Final = f"{PREFIX}:files:forgotten"  # zset: places of hashes that no file has any more, by when, s. A month
EXPIRING: Final = f"{PREFIX}:files:expiring"  # zset: file ids by when they go, s; of those that their owner gave an end


def pending_upload(id: str) -> str:
    """hash: an upload that comes in parts, and each part's bytes. A day."""
    return f"{PREFIX}:upload:{id}"


def upload_turn(id: str) -> str:
    """string: the lock of who puts an upload's parts together, SET NX PX."""
    return f"{PREFIX}:upload:{id}:turn"


def idempotency(tenant: str, name: str) -> str:
    """hash: a submission's job id, digest and answer, by the hash of its key or body. A day, or minutes."""
    return f"{PREFIX}:idempotency:{tenant}:{name}"


def submission(job: str) -> str:
    """string: the key of the reservation under which a job was submitted with an Idempotency-Key. A day."""
    return f"{PREFIX}:submission:{job}"


def unread(job: str) -> str:
    """string: the same of one that only a marked retry can find. Until it is read, or some minutes."""
    return f"{PREFIX}:unread:{job}"


def stream_token(digest: str) -> str:
    """string: the tenant whose streams a token opens, by the token's hash. A minute."""
    return f"{PREFIX}:stream_token:{digest}"


def worker(id: str) -> str:
    """hash: a worker's heartbeat, device, preflight, drain wish. TTL of some missed heartbeats."""
    return f"{PREFIX}:worker:{id}"


WORKERS: Final = f"{PREFIX}:workers"  # zset: worker ids by last heartbeat, s
REAPER: Final = f"{PREFIX}:reaper"  # string: the reaper's lock, SET NX PX
AUTOSCALER: Final = f"{PREFIX}:autoscaler"  # string: the lock of the autoscaler that works, SET PX
SCALING: Final = f"{PREFIX}:scaling"  # string: what the autoscaler saw and decided last, as JSON. Forever
DECISIONS: Final = f"{PREFIX}:scaling:decisions"  # list, capped: its newest decisions, as JSON. Forever
TOTALS: Final = f"{PREFIX}:totals"  # hash: what has been counted since the store was made, for /metrics. Forever


def of_job(id: str, tenant: str) -> list[str]:
    """The keys that every script is given first, in the prelude's order."""
    own = (queued_by(tenant, kind) for kind in KINDS)
    told = feed(tenant), webhooks_of(tenant), deliveries_of(tenant), DUE
    return [job(id), events(id), RUNNING, ENDED, *map(queued, KINDS), TOTALS, TURNS, HELD, *own, *told]


def train_queue(kind: str) -> str:
    """list, Celery's: hints that there is work. Its name is that of Celery's queue."""
    return f"{PREFIX}.train" if kind == "any" else f"{PREFIX}.train.{kind}"
