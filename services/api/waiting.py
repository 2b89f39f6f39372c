"""Why a job waits: what its record says, or that no living worker can take it."""

from collections.abc import Sequence

from services.contract.fleet import Worker
from services.contract.job import Reason
from services.contract.transitions import Status
from services.store.record import JobRecord
from services.store.store import Store


async def workers_for(records: Sequence[JobRecord], store: Store) -> list[Worker]:
    """Those that live and take jobs, where any of these jobs waits for one."""
    if all(record.status is not Status.QUEUED for record in records):
        return []
    return [worker for worker in await store.workers.all() if worker.status != "draining"]


def reason_of(record: JobRecord, workers: Sequence[Worker]) -> Reason:
    if record.status is not Status.QUEUED or record.reason.code != "queued":
        return record.reason
    kinds = sorted({worker.kind for worker in workers})
    if not kinds:
        how = "`headway worker` starts one, `GET /v1/autoscaler` says what an autoscaler does about it"
        return record.reason.model_copy(update={"message": f"No worker is running: {how}."})
    if record.kind not in ("any", *kinds):
        message = f"No worker has {record.kind}: there is {', '.join(kinds)}."
        return record.reason.model_copy(update={"message": message})
    return record.reason
