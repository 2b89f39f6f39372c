"""What an attempt hands its trainer: the job's spec, and where all of it is."""

import asyncio
from pathlib import Path

from services import tracing
from services.contract.errors import DataUnreadable, DeviceUnavailable
from services.contract.preflight import Arithmetic
from services.contract.recipe import ResolvedRecipe
from services.contract.spec import ArchivePaths, JobSpec, TrainerSpec
from services.settings import Settings
from services.store.blobs import remove_old
from services.store.files import FileRecord
from services.store.leases import Claim
from services.store.store import Store


async def trainer_spec(store: Store, claim: Claim, settings: Settings, folder: Path) -> TrainerSpec:
    """Raises DataUnreadable, DeviceUnavailable, OSError."""
    computed = _arithmetic(claim)
    recipe = claim.spec.fields_of(ResolvedRecipe) | {"precision": claim.precision}
    training, *validation = await _records(store, claim.tenant, claim.spec)
    return TrainerSpec(
        **recipe,
        labels=training.contents.names,
        job=claim.job,
        tenant=claim.tenant,
        training=await asyncio.to_thread(_where, store, training),
        validation=await asyncio.to_thread(_where, store, validation[0]) if validation else None,
        device=claim.worker.device,
        weights=settings.weights_source(claim.spec.weights),
        engine=computed.engine,
        fingerprint=computed.fingerprint,
        cache=str(settings.features_dir.absolute()),
        cache_bytes=settings.cache_bytes,
        out=str(folder),
        resume=await _resume_point(store, claim, folder),
        next_checkpoint=claim.checkpoint + 1,
        trace=tracing.here(),
        limits=claim.spec.limits,
        timing=settings.timing.trainer,
    )


def _arithmetic(claim: Claim) -> Arithmetic:
    worker = claim.worker
    if claim.precision not in worker.precisions:
        raise DeviceUnavailable(
            f"{claim.precision} did not pass its check on {worker.device}: ask for one of "
            f'{", ".join(worker.precisions)}, or for "auto".'
        )
    return worker.precisions[claim.precision]


async def archives(store: Store, tenant: str, spec: JobSpec) -> list[ArchivePaths]:
    """Of all of a job's images. Raises DataUnreadable."""
    return [await asyncio.to_thread(_where, store, record) for record in await _records(store, tenant, spec)]


def work_folder(settings: Settings) -> Path:
    """For what an attempt needs while it runs. Raises OSError."""
    folder = settings.data_dir.absolute() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    # What killed workers left: the folder of a running attempt is touched with each renewal.
    remove_old(folder.iterdir(), seconds=settings.timing.work_folder)
    return folder


async def _records(store: Store, tenant: str, spec: JobSpec) -> list[FileRecord]:
    """The training file's, and the validation file's where there is one."""
    found = [await _record(store, tenant, spec.training_file, spec.index)]
    return [*found, await _record(store, tenant, spec.validation_file)] if spec.validation_file else found


async def _record(store: Store, tenant: str, file: str, index: str | None = None) -> FileRecord:
    record = await store.files.owned_by(tenant, file)
    if record is None:
        raise DataUnreadable(f"The file {file} was deleted.")
    read = await store.files.read_at(record, index)
    if read is None:
        raise DataUnreadable(f"The index of {file} in the job's layout is no longer in the file store.")
    return read


def _where(store: Store, record: FileRecord) -> ArchivePaths:
    try:
        return store.files.where(record)
    except FileNotFoundError as error:
        raise DataUnreadable(f"The training data cannot be read: {error}.") from None


async def _resume_point(store: Store, claim: Claim, folder: Path) -> str | None:
    """The newest whole checkpoint as a local file."""
    newest = await store.checkpoints.newest(claim.job)
    if newest is None:
        return None
    path = folder / "resume.safetensors"
    await asyncio.to_thread(path.write_bytes, newest[1])
    return str(path)
