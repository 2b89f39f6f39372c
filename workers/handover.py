"""What an attempt hands its trainer: the job's spec, with everything brought to local paths."""

import asyncio
from pathlib import Path

from services.contract.errors import DataUnreadable, DeviceUnavailable
from services.contract.preflight import Arithmetic
from services.contract.recipe import ResolvedRecipe
from services.contract.spec import ArchivePaths, TrainerSpec
from services.settings import Settings
from services.store.files import FileRecord
from services.store.leases import Claim
from services.store.store import Store


async def trainer_spec(store: Store, claim: Claim, settings: Settings, folder: Path) -> TrainerSpec:
    """Raises DataUnreadable, DeviceUnavailable, OSError."""
    computed = _arithmetic(claim)
    recipe = claim.spec.fields_of(ResolvedRecipe) | {"precision": claim.precision}
    training = await _record(store, claim, claim.spec.training_file, claim.spec.index)
    validation = claim.spec.validation_file
    return TrainerSpec(
        **recipe,
        labels=training.contents.names,
        job=claim.job,
        tenant=claim.tenant,
        training=_local(store, training),
        validation=_local(store, await _record(store, claim, validation)) if validation else None,
        device=claim.worker.device,
        weights=settings.weights_source(claim.spec.weights),
        engine=computed.engine,
        fingerprint=computed.fingerprint,
        cache=str(settings.features_dir.absolute()),
        cache_bytes=settings.cache_bytes,
        out=str(folder),
        resume=await _resume_point(store, claim, folder),
        next_checkpoint=claim.checkpoint + 1,
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


async def _record(store: Store, claim: Claim, file: str, index: str | None = None) -> FileRecord:
    record = await store.files.owned_by(claim.tenant, file)
    if record is None:
        raise DataUnreadable(f"The file {file} was deleted.")
    read = await store.files.read_at(record, index)
    if read is None:
        raise DataUnreadable(f"The index of {file} in the job's layout is no longer in the file store.")
    return read


def _local(store: Store, record: FileRecord) -> ArchivePaths:
    try:
        return store.files.local(record)
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
