"""Where bytes lie in the store, born here: a tenant's name begins each place."""

from services.contract.ids import is_id

INCOMING = "incoming"
SHARED = "shared"


def incoming(tenant: str) -> str:
    """A folder: uploads that are still coming in."""
    return f"{tenant}/{INCOMING}"


def part(tenant: str, upload: str, part: str) -> str:
    """A part of an upload, until it is complete; swept like what broken uploads left."""
    return f"{incoming(tenant)}/{upload}.{part}"


def upload(tenant: str, sha256: str) -> str:
    """An upload's own bytes; equal bytes share the place."""
    return f"{tenant}/files/{sha256[:2]}/{sha256}"


def plain_tar(upload: str) -> str:
    """The same as a plain tar, where it came as a tar.gz or as JSON lines."""
    return f"{upload}.tar"


def index(upload: str, layout: str) -> str:
    """By the digest of rules and layout: one that stands is never rewritten, as records and paused jobs mean it."""
    return f"{upload}.{layout}.index"


def report(index: str) -> str:
    return f"{index.removesuffix('.index')}.report"


def thumbnail(upload: str, sha256: str, side: int) -> str:
    """Of one of its images; it begins as the upload does, and goes with it."""
    return f"{upload}.{sha256}.{side}.jpg"


def forgotten(tenant: str, name: str) -> str:
    """sha256s of pictures that none of the tenant's files has any more, 32 bytes each."""
    return f"{tenant}/forgotten/{name}"


def models(tenant: str, job: str) -> str:
    """A folder: the exports of a job's attempts, a folder a fence."""
    return f"{tenant}/models/{job}"


def model(tenant: str, job: str, fence: int) -> str:
    """A folder: what one attempt exported. Only `finish` makes it the job's."""
    return f"{models(tenant, job)}/{fence}"


def export(model: str, name: str) -> str:
    """One of its files."""
    return f"{model}/{name}"


def labels(model: str) -> str:
    """Their names, by the outputs of the head: a model has them when its file is gone."""
    return f"{model}/labels.json"


def evaluation(model: str) -> str:
    """With every label's scores."""
    return f"{model}/evaluation.json"


def judged(model: str) -> str:
    """What the model does on each held-out image, a line each, the worst first."""
    return f"{model}/judged.jsonl"


def history(tenant: str, job: str) -> str:
    """A folder: what an ended job left in Redis, once it has moved from there."""
    return f"{tenant}/history/{job}"


def events(history: str) -> str:
    """Entries of its stream, a line each."""
    return f"{history}/events"


def series(history: str) -> str:
    """Its points, packed as in Redis."""
    return f"{history}/series"


def checkpoints(tenant: str, job: str) -> str:
    """A folder: checkpoints too large for Redis."""
    return f"{tenant}/checkpoints/{job}"


def checkpoint(tenant: str, job: str, fence: int, number: int) -> str:
    return f"{checkpoints(tenant, job)}/{fence}-{number}"


def passes(tenant: str, job: str) -> str:
    """A folder: the passes of a job's attempts, a folder a fence; swept like what broken uploads left."""
    return f"{tenant}/{SHARED}/{job}"


def shared(tenant: str, job: str, fence: int) -> str:
    """A folder: an attempt's pass, and what helpers bring."""
    return f"{passes(tenant, job)}/{fence}"


def plan(shared: str) -> str:
    """sha256s of the images that it computes, 32 bytes each, in the order of need."""
    return f"{shared}/plan"


def segment(shared: str, name: str) -> str:
    return f"{shared}/{name}"


def of_tenant(tenant: str) -> list[str]:
    """The folders that go with a tenant; what it had forgotten, its workers still read."""
    return [f"{tenant}/{folder}" for folder in ("files", "models", "checkpoints", "history", SHARED, INCOMING)]


def of_job(tenant: str, job: str) -> list[str]:
    """The folders that go with a job."""
    assert is_id(job, "ftjob")
    return [models(tenant, job), checkpoints(tenant, job), history(tenant, job), passes(tenant, job)]
