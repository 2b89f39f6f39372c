"""The dashboard's frames in a browser: many jobs in the list, a sweep of long curves, while events come."""

import asyncio
import math
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from services.contract.events import NewEvent
from services.contract.ids import new_id
from services.contract.progress import CheckpointMetrics, Progress, Trial
from services.contract.recipe import Hyperparameters, Sweep
from services.settings import Settings
from services.store.events import Batch, Point
from services.store.leases import Claim
from services.store.record import Latest
from services.store.store import Store, open_store
from tests.benchmarks.parts import Figures, note
from tests.benchmarks.place import Place
from tests.conftest import free_port, profile, running_api, running_valkey, spec

JOBS, TRIALS, STEPS = 200, 50, 10_000
EVENTS, EVERY = 50, 0.1  # while frames are taken; seconds between two
LAST_STEP = "document.querySelector('.plot')?.chart.lines()[0].step.at(-1) ?? null"
FRAMES = """async () => {
    const took = [];
    let last = performance.now();
    const until = last + 5000;
    while (last < until) {
        const now = await new Promise(requestAnimationFrame);
        took.push(now - last);
        last = now;
    }
    took.sort((a, b) => a - b);
    return { median: took[took.length >> 1], p95: took[Math.floor(0.95 * took.length)], worst: took.at(-1) };
}"""


def dashboard(place: Place) -> Figures:
    """Frames of the page in chromium, while ten events a second come: 200 jobs, and 50 trials of 10,000 steps."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="headway-") as name, _service(Path(name)) as (settings, url):
        sweep = asyncio.run(_filled(settings))
        for _ in range(place.runs):
            for view, about in (("jobs", f"{JOBS} jobs"), (f"jobs/{sweep.job}", f"{TRIALS} × {STEPS}")):
                for name, ms in _frames(settings, sweep, f"{url}/#/{view}").items():
                    note(found, f"{about}: a frame, {name}, ms", ms)
    return found


@contextmanager
def _service(folder: Path) -> Iterator[tuple[Settings, str]]:
    with running_valkey(folder / "valkey.sock", folder) as redis_url:
        settings = Settings(data_dir=folder, redis_url=redis_url, port=free_port())
        with running_api(settings) as client:
            yield settings, str(client.base_url)


async def _filled(settings: Settings) -> Claim:
    """The last job is a sweep that runs; its claim."""
    async with open_store(settings) as store:
        for _ in range(JOBS - 1):
            await store.jobs.create(new_id("ftjob"), "local", spec())
        axes = Sweep(learning_rate=[0.001 * (i + 1) for i in range(TRIALS)])
        job = new_id("ftjob")
        await store.jobs.create(job, "local", spec(sweep=axes, priority=9))
        claim = await store.leases.claim(job, profile())
        assert claim is not None
        trials = [_trial(number) for number in range(TRIALS)]
        await store.events.emit(claim, Batch(1, latest=Latest(trials=trials, progress=_progress(STEPS))))
        for trial in range(TRIALS):
            points = [Point("train_loss", step, _loss(trial, step), trial) for step in range(1, STEPS + 1)]
            await store.events.emit(claim, Batch(2 + trial, points=points, last_step=STEPS))
        return claim


def _frames(settings: Settings, claim: Claim, url: str) -> dict[str, float]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.locator("#connection[data-state=online]").wait_for()
        page.locator("table tbody tr, .u-wrap").first.wait_for()
        page.wait_for_timeout(2000)
        took = _while_events_come(settings, claim, page)
        browser.close()
    return took


def _while_events_come(settings: Settings, claim: Claim, page: Page) -> dict[str, float]:
    speaker = threading.Thread(target=lambda: asyncio.run(_speak(settings, claim)))
    speaker.start()
    took: dict[str, float] = page.evaluate(FRAMES)
    speaker.join()
    last = page.evaluate(LAST_STEP)
    assert last is None or last > STEPS  # what came was drawn
    return took


async def _speak(settings: Settings, claim: Claim) -> None:
    async with open_store(settings) as store:
        for _ in range(EVENTS):
            await _say(store, claim)
            await asyncio.sleep(EVERY)


async def _say(store: Store, claim: Claim) -> None:
    record = await store.jobs.get(claim.job)
    assert record is not None
    step = record.last_step + 10
    steps = list(range(record.last_step + 1, step + 1))
    trials = [
        {"trial": n, "series": {"step": steps, "train_loss": [_loss(n, s) for s in steps]}} for n in range(TRIALS)
    ]
    data = {"phase": "training", "percent": 50.0, "step": step, "trials": trials}
    event = NewEvent(created_at=0, type="metrics", message=f"Step {step}", data=data)
    number = await _emitted(store, claim) + 1
    await store.events.emit(claim, Batch(number, events=[event], last_step=step))


async def _emitted(store: Store, claim: Claim) -> int:
    return int(await store.redis.hget(f"headway:job:{claim.job}", "emitted") or 0)


def _trial(number: int) -> Trial:
    hyperparameters = Hyperparameters(learning_rate=0.001 * (number + 1))
    metrics = CheckpointMetrics(step=STEPS, epoch=1, train_loss=1.0, val_loss=1.0, val_accuracy=0.5)
    return Trial(trial=number, hyperparameters=hyperparameters, leads=number == 0, metrics=metrics)


def _progress(step: int) -> Progress:
    return Progress(phase="training", percent=50.0, step=step, total_steps=2 * step)


def _loss(trial: int, step: int) -> float:
    return 2 * math.exp(-step / (500 + 100 * trial)) + 0.05 * math.sin(step * (trial + 1))
