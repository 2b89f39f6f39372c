"""A thousand simulated workers and ten thousand jobs on one real Valkey: what its one thread does, what waits for it.

The workers' own part is left out: each has a connection of its own and sends the very commands that a real one sends,
as bytes that were made once, so that two cores are enough for the client of all of them. Submissions and claims go
through the store's own code, in a process of their own.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import redis.asyncio
from redis._parsers.encoders import Encoder
from redis.connection import PythonRespSerializer

from services.contract.events import NewEvent
from services.contract.fleet import Worker
from services.contract.ids import new_id
from services.contract.preflight import kind_of
from services.contract.progress import Progress
from services.contract.timing import Timing
from services.settings import Settings
from services.store import keys
from services.store.commands import Redis
from services.store.events import Batch, Point
from services.store.leases import Claim
from services.store.record import Latest
from services.store.store import Store, open_store
from tests.benchmarks.parts import Figures, note
from tests.benchmarks.place import Place
from tests.conftest import profile, raw, running_valkey, spec

WORKERS, JOBS, TENANTS, READERS = 1000, 10_000, 20, 300
EMITS = (1, 2, 4, 8)  # of each worker in a second: its features come at 1, its training at up to 10
SECONDS = 12
PROBES = 10  # submissions and claims in a second
NUMBER = 987_654_321  # stands for a batch's


class Script(NamedTuple):
    """A command as bytes; an emit's in two, with the batch's number between."""

    renew: bytes
    emit: tuple[bytes, bytes]
    report: bytes
    events: str


def fleet(place: Place) -> Figures:
    """A thousand workers, 10,000 jobs, 300 readers: commands a second, Valkey's core, p99 of submissions and claims."""
    found: Figures = {}
    for _ in range(place.runs):
        with tempfile.TemporaryDirectory(prefix="headway-") as name:
            folder = Path(name)
            with running_valkey(folder / "valkey.sock", folder, "--maxclients", "4000") as url:
                settings = Settings(data_dir=folder, redis_url=url)
                asyncio.run(_measure(settings, found))
    return found


async def _measure(settings: Settings, found: Figures) -> None:
    async with open_store(settings) as store:
        valkey = psutil.Process(int((await store.redis.info("server"))["process_id"]))
        empty = (await store.redis.info("memory"))["used_memory"]
        for number in range(JOBS + WORKERS):
            await store.jobs.create(new_id("ftjob"), f"tenant{number % TENANTS}", spec())
        queued = (await store.redis.info("memory"))["used_memory"]
        note(found, "memory of a thousand jobs that wait, MB", (queued - empty) / 1e6 / (JOBS + WORKERS) * 1000)
        known: Mapping[str, Any] = store.leases._scripts._scripts
        for script in known.values():
            await raw(store).script_load(script.script)
        scripts = [await _script(store, number) for number in range(WORKERS)]
        with ProcessPoolExecutor(1) as pool:
            for emits in EMITS:
                before, began = valkey.cpu_times(), time.monotonic()
                work = asyncio.get_running_loop().run_in_executor(pool, _work, settings.store_url, scripts, emits)
                await asyncio.sleep(2)
                submits, claims = await _probed(store, SECONDS - 4)
                sent, late = await work
                after, took = valkey.cpu_times(), time.monotonic() - began
                busy = (after.user + after.system - before.user - before.system) / took
                at = f"{emits} emits/s each: "
                note(found, f"{at}commands a second", sent / took)
                note(found, f"{at}Valkey's share of a core", busy)
                note(found, f"{at}its microseconds a command", 1e6 * busy * took / sent)
                note(found, f"{at}a renewal, p99, ms", 1000 * _p99(late))
                note(found, f"{at}a submission, p99, ms", 1000 * _p99(submits))
                note(found, f"{at}a claim, p99, ms", 1000 * _p99(claims))
        memory = (await store.redis.info("memory"))["used_memory"]
        note(found, "memory of a thousand jobs that ran a minute, MB", (memory - queued) / 1e6 / WORKERS * 1000)


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * len(seconds))]


async def _probed(store: Store, seconds: float) -> tuple[list[float], list[float]]:
    """What submissions and claims take beside all that."""
    submits, claims = [], []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        await store.jobs.create(new_id("ftjob"), f"tenant{random.randrange(TENANTS)}", spec())
        submitted = time.monotonic()
        assert await store.leases.claim_next(profile("prober")) is not None
        submits.append(submitted - began)
        claims.append(time.monotonic() - submitted)
        await asyncio.sleep(max(0.0, 1 / PROBES - (time.monotonic() - began)))
    return submits, claims


# --- what a worker sends, as bytes ---------------------------------------------------------------------------------


async def _script(store: Store, number: int) -> Script:
    claim = await store.leases.claim_next(profile(f"worker-{number}"))
    assert claim is not None
    emit = await _bytes_of(store.redis, lambda: store.events.emit(claim, _batch()))
    head, _, tail = emit.partition(f"$9\r\n{NUMBER}\r\n".encode())
    return Script(
        renew=await _bytes_of(store.redis, lambda: store.leases.renew(claim)),
        emit=(head, tail),
        report=await _bytes_of(store.redis, lambda: store.workers.report(_worker(claim))),
        events=keys.events(claim.job),
    )


def _batch() -> Batch:
    """As a trainer's flush is: a step's loss as an event, ten points, where it stands."""
    step = {"step": 1, "train_loss": 0.51234, "trial": 0, "epoch": 1}
    event = NewEvent(created_at=int(time.time()), message="Step 1: training loss 0.51.", type="metrics", data=step)
    points = [Point("train_loss", step, 0.5) for step in range(10)]
    progress = Progress(phase="training", step=1, total_steps=1000, epoch=1, n_epochs=10, percent=12.0)
    return Batch(NUMBER, [event], points, Latest(progress=progress), last_step=1)


def _worker(claim: Claim) -> Worker:
    now = int(time.time())
    fields: dict[str, Any] = {"id": claim.worker.id, "status": "busy", "device": "cpu", "kind": kind_of("cpu")}
    fields |= {"job": claim.job, "started_at": now, "seen_at": now, "preflight": [], "host": "host", "pid": 1}
    return Worker.model_construct(**fields)


async def _bytes_of(client: Redis, call: Callable[[], Coroutine[Any, Any, Any]]) -> bytes:
    """Of the one command that `call` would send; it is not sent."""
    sent: list[bytes] = []

    async def taken(*command: Any, **_: Any) -> list[bytes]:
        packer = PythonRespSerializer(6000, Encoder("utf-8", "strict", False).encode)
        sent.append(b"".join(packer.pack(*command)))
        return [b"ok", b"running", b"0"]

    with_real, client.execute_command = client.execute_command, taken  # type: ignore[attr-defined]
    try:
        with suppress(ValueError):  # of an answer that is none of a report's
            await call()
    finally:
        client.execute_command = with_real  # type: ignore[attr-defined]
    assert len(sent) == 1
    return sent[0]


# --- the workers, in a process of their own ------------------------------------------------------------------------

emitted: Counter[str] = Counter()  # batches, by job


def _work(url: str, scripts: Sequence[Script], emits: int) -> tuple[int, list[float]]:
    """How many commands were answered, and what each renewal took, s."""
    return asyncio.run(_all_at_work(url.removeprefix("unix://"), scripts, emits))


async def _all_at_work(path: str, scripts: Sequence[Script], emits: int) -> tuple[int, list[float]]:
    late: list[float] = []
    end = time.monotonic() + SECONDS
    readers = asyncio.create_task(_read(path, [script.events for script in scripts[:READERS]]))
    counts = await asyncio.gather(*(_at_work(path, script, emits, end, late) for script in scripts))
    readers.cancel()
    return sum(counts), late


async def _at_work(path: str, script: Script, emits: int, end: float, late: list[float]) -> int:
    reader, writer = await asyncio.open_unix_connection(path)
    await asyncio.sleep(random.random())
    answered = 0
    while time.monotonic() < end:
        began = time.monotonic()
        answered += await _ask(reader, writer, script.renew)
        late.append(time.monotonic() - began)
        if random.random() < 1 / Timing().heartbeat:
            answered += await _ask(reader, writer, script.report)
        for _ in range(emits):
            emitted[script.events] += 1
            head, tail, number = *script.emit, str(emitted[script.events])
            answered += await _ask(reader, writer, head + f"${len(number)}\r\n{number}\r\n".encode() + tail)
            await asyncio.sleep(max(0.0, 1 / emits - (time.monotonic() - began) / emits))
    writer.close()
    return answered


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: bytes) -> int:
    writer.write(command)
    first = await reader.readline()
    assert first.startswith(b"*"), first
    for _ in range(2 * int(first[1:])):
        await reader.readline()
    return 1


async def _read(path: str, streams: Sequence[str]) -> None:
    """As an API process does for all its readers: one connection."""
    client: Any = redis.asyncio.Redis(unix_socket_path=path)
    last: dict[str, Any] = dict.fromkeys(streams, "$")
    while True:
        for name, entries in await client.xread(last, block=1000):
            last[name.decode()] = entries[-1][0]
