"""The autoscaler at work on a real store, with real worker processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from services.autoscaler.loop import Autoscaler
from services.autoscaler.providers import Provider, ProviderError
from services.autoscaler.providers.process import Processes
from services.contract.fleet import AutoscalerReport
from services.contract.ids import new_id
from services.contract.progress import Progress
from services.process.ending import end
from services.settings import Settings
from services.store.events import Batch
from services.store.record import Latest
from services.store.store import Store
from services.store.totals import read_totals
from tests.conftest import profile, raw, spec
from tests.processes import alive, arguments, started_by
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

NO_SUCH_DEVICE = "cuda" if sys.platform == "darwin" else "mps"


def scaled(settings: Settings, autoscale: str, cooldown: float = 1.0) -> Settings:
    return settings.model_copy(
        update={"autoscale": autoscale, "autoscale_cooldown": cooldown, "autoscale_last_cooldown": cooldown}
    )


@contextmanager
def processes(settings: Settings, *, module: str = "tests.gated.worker") -> Iterator[Processes]:
    provider = Processes(settings, module=module)
    try:
        yield provider
    finally:
        provider.close()


@asynccontextmanager
async def at_work(store: Store, provider: Provider, settings: Settings) -> AsyncIterator[None]:
    working = asyncio.create_task(Autoscaler(store, provider, settings).run())
    try:
        yield
    finally:
        await end(working)


async def submitted(store: Store, device: str = "auto") -> str:
    """A job that fails as soon as it is claimed: its file does not exist."""
    id = new_id("ftjob")
    await store.jobs.create(id, "local", spec(device=device))
    await store.hints.publish("any" if device == "auto" else device)
    return id


async def eventually(
    condition: Callable[[AutoscalerReport], bool], store: Store, *, seconds: float = 90.0
) -> AutoscalerReport:
    """The autoscaler's own report, once `condition` holds of it."""
    deadline = time.monotonic() + seconds
    while not condition(told := await store.autoscaling.read()):
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.05)
    return told


async def test_a_queued_job_starts_a_worker_and_one_that_is_not_needed_drains(store: Store, settings: Settings) -> None:
    config = scaled(settings, "cpu=0-2")
    with processes(config) as provider:
        async with at_work(store, provider, config):
            await eventually(lambda told: told.alive, store)
            asked = time.time()
            job = await submitted(store)
            told = await eventually(lambda told: len(told.decisions) == 1, store)
            assert told.decisions[0].start == 1
            assert told.decisions[0].reason == "1 job waiting, 0 workers: start 1"
            assert told.decisions[0].at - asked < 5
            told = await eventually(lambda told: len(told.decisions) == 2, store)
            assert told.decisions[0].drain == ["worker-cpu-1"]
            assert "not needed for 1 s" in told.decisions[0].reason
            await asyncio.to_thread(wait_until, lambda: not provider.instances(), seconds=20)
    record = await store.jobs.get(job)
    assert record is not None and record.status == "failed" and record.attempt == 1
    counts = dict((await read_totals(store.redis)).counts)
    assert {counts.pop("waited_ms") >= 0, counts.pop("device_ms") >= 0} == {True}
    assert counts == {"submitted": 1, "started": 1, "attempts": 1, "failed": 1, "started:cpu": 1, "drained:cpu": 1}


@pytest.mark.slow
async def test_a_worker_that_fails_its_preflight_is_no_worker_and_is_not_started_again_and_again(
    store: Store, settings: Settings
) -> None:
    config = scaled(settings, f"{NO_SUCH_DEVICE}=0-1")
    with processes(config, module="workers.main") as provider:
        async with at_work(store, provider, config):
            await submitted(store, NO_SUCH_DEVICE)
            told = await eventually(lambda told: any("came to nothing" in d.reason for d in told.now), store)
            assert told.now[0].reason.startswith("the last start came to nothing; the next try in ")
            assert told.problem == f"A worker on {NO_SUCH_DEVICE} ended before it came to work; its log says why."
            assert told.now[0].failed_starts == 1
            assert told.now[0].idle == told.now[0].starting == 0
            assert len(told.decisions) == 1
    log = (settings.data_dir / "logs" / f"worker-{NO_SUCH_DEVICE}-1.log").read_text()
    assert "No device can be used" in log


async def test_of_two_autoscalers_one_works_and_the_other_takes_over(store: Store, settings: Settings) -> None:
    config = scaled(settings, "cpu=0-2")
    with processes(config) as first, processes(config) as second:
        async with at_work(store, second, config):
            await eventually(lambda told: told.alive, store)
            async with at_work(store, first, config):
                await submitted(store)
                await eventually(lambda told: told.decisions != [], store)
                assert [len(provider.instances()) for provider in (first, second)] == [0, 1]
                holder = (await store.autoscaling.read()).id
        async with at_work(store, first, config):
            await eventually(lambda told: told.id != holder, store)


async def test_what_keeps_workers_from_starting_is_told(store: Store, settings: Settings) -> None:
    config = scaled(settings, "cpu=0-1")

    class Broken(Processes):
        def start(self, kind: str) -> str:
            raise ProviderError("There is no room on this machine.")

    async with at_work(store, Broken(config), config):
        await submitted(store)
        told = await eventually(lambda told: told.problem is not None, store)
        assert told.problem == "There is no room on this machine."
        told = await eventually(lambda told: any("the next try in" in d.reason for d in told.now), store)
        assert told.problem == "There is no room on this machine."  # not only in the second of the try
        assert told.decisions == []  # nothing was done
        assert "started:cpu" not in (await read_totals(store.redis)).counts


async def test_a_full_redis_does_not_stop_it(store: Store, settings: Settings) -> None:
    config = scaled(settings, "cpu=1-1", cooldown=60)
    with processes(config) as provider:
        async with at_work(store, provider, config):
            await eventually(lambda told: told.now != [] and told.now[0].idle == 1, store)
            await raw(store).config_set("maxmemory", "1mb")
            try:
                os.kill(provider.instances()[0].pid, signal.SIGKILL)
                told = await eventually(lambda told: len(told.decisions) == 2, store)
                assert told.decisions[0].reason == "the minimum is 1, 0 workers: start 1"
            finally:
                await raw(store).config_set("maxmemory", "0")


@contextmanager
def autoscaler(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-m", "tests.gated.autoscaler"], env=settings.as_environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
async def test_workers_that_are_processes_of_its_own_end_with_it(
    store: Store, settings: Settings, signum: signal.Signals
) -> None:
    with autoscaler(scaled(settings, "cpu=2-2")) as process:
        await eventually(lambda told: told.now != [] and told.now[0].idle == 2, store)
        workers = [pid for pid in started_by(process.pid) if "gated.worker" in arguments(pid)]
        assert len(workers) == 2
        os.kill(process.pid, signum)
        assert process.wait(20) == (0 if signum is signal.SIGTERM else -signum)
    wait_until(lambda: not any(alive(pid) for pid in workers), seconds=15)
    assert await store.workers.all() == []


async def test_a_turn_that_is_lost_is_not_acted_on(store: Store, settings: Settings) -> None:
    config = scaled(settings, "cpu=1-1")
    with processes(config) as provider:
        scaler = Autoscaler(store, provider, config)
        await scaler._one_pass(until=time.monotonic())  # another may have the lock by now
        assert provider.instances() == []
        await scaler._one_pass(until=time.monotonic() + 10)
        assert len(provider.instances()) == 1


async def test_a_long_pass_starts_workers_that_help(store: Store, settings: Settings) -> None:
    """Its owner is another's: it holds no place."""
    config = scaled(settings, "cpu=0-2")
    with processes(config) as provider:
        scaler = Autoscaler(store, provider, config)
        scaler._memory.watch.boots["cpu"] = 10.0
        await store.jobs.create(id := new_id("ftjob"), "local", spec())
        claim = await store.leases.claim(id, profile())
        assert claim is not None
        await store.shards.share(claim, 100, "local/shared/x/plan", 64)
        progress = Progress(phase="features", images=64, total_images=6400, eta_seconds=60.0)
        await store.events.emit(claim, Batch(1, latest=Latest(progress=progress)))
        await scaler._one_pass(until=time.monotonic() + 10)
        (decision,) = (await store.autoscaling.read()).now
        assert (decision.helping, decision.start) == (2, 2)
        await store.shards.end(claim)
        assert await scaler._passes() == []
