"""What a job costs Redis: counted, so that it cannot creep."""

import time
from pathlib import Path
from typing import Any

import pytest

from services.contract.ids import new_id
from services.contract.transitions import Status
from services.settings import Settings
from services.store.store import Store
from tests.conftest import profile, spec
from tests.trainers import trainers_from
from workers.duty import Duty
from workers.supervisor import StartTrainer, supervise

pytestmark = pytest.mark.anyio

HYPERPARAMETERS = {"n_epochs": 10, "batch_size": 4, "learning_rate": 1e-3}
SWEEP = {"learning_rate": [1e-4, 1e-3], "momentum": [0.0, 0.5]}


async def cost(store: Store, settings: Settings, start: StartTrainer, **asked: Any) -> tuple[int, int]:
    """Commands, those of scripts too, and bytes sent, from a job's submission to its end; without the renewals, which
    are one script a second."""
    commands, sent = await _counted(store)
    began = time.monotonic()
    id = new_id("ftjob")
    await store.jobs.create(id, "local", spec(**asked))
    claim = await store.leases.claim_next(profile())
    assert claim is not None
    await supervise(store, claim, settings, Duty(lambda: None), start)
    record = await store.jobs.get(id)
    assert record is not None
    assert record.status is Status.SUCCEEDED, record.reason
    renewals = round(time.monotonic() - began)
    now = await _counted(store)
    return now[0] - commands - 6 * renewals, now[1] - sent - 400 * renewals


async def _counted(store: Store) -> tuple[int, int]:
    calls = sum(of["calls"] for of in (await store.redis.info("commandstats")).values())
    return int(calls), int((await store.redis.info("stats"))["total_net_input_bytes"])


async def test_a_job_costs_a_bounded_number_of_commands_and_bytes(
    quiet_store: Store, quiet: Settings, file: str, nursery: Path
) -> None:
    with trainers_from(nursery) as start:
        await cost(quiet_store, quiet, start, training_file=file)  # the features, and the scripts' own bytes
        plain = await cost(quiet_store, quiet, start, training_file=file, hyperparameters=HYPERPARAMETERS)
        longer = await cost(
            quiet_store, quiet, start, training_file=file, hyperparameters=HYPERPARAMETERS | {"n_epochs": 100}
        )
        of_four = await cost(
            quiet_store, quiet, start, training_file=file, hyperparameters=HYPERPARAMETERS, sweep=SWEEP
        )
    # Measured: 130 commands and 73 kB, 145 and 103 kB, 117 and 120 kB.
    assert plain[0] < 200
    assert plain[1] < 110_000
    assert longer[0] < plain[0] + 60, "an epoch must not cost a round trip"
    assert longer[1] < 160_000
    assert of_four[0] < 200
    assert of_four[1] < 180_000
