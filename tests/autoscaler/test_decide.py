"""The decision, kind by kind: each sentence of the design, as inputs and what must follow."""

from dataclasses import replace
from typing import Any

import pytest

from services.autoscaler.decide import (
    Look,
    Past,
    Rules,
    SeenWorker,
    SharedPass,
    WorkerState,
    decide,
    helpers_wanted,
    shares,
)
from services.contract.fleet import Decision, Pool

RULES = Rules(cooldown=60, last_cooldown=180, first_backoff=5, last_backoff=300, silence=180)
NOW = 10_000.0
LONG_AGO = Past(began=0.0)


def workers(*states: WorkerState, **more: Any) -> list[SeenWorker]:
    return [SeenWorker(f"w{number}", "cpu", state, **more) for number, state in enumerate(states)]


def decided(
    queued: int, seen: list[SeenWorker], *, least: int = 0, most: int = 4, past: Past = LONG_AGO, now: float = NOW
) -> Decision:
    return decide(Look(queued, seen, Pool(kind="cpu", min=least, max=most), past, RULES, now))


# --- up ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queued", "seen", "start"),
    [
        (0, [], 0),
        (1, [], 1),
        (3, [], 3),
        (9, [], 4),
        (1, workers(WorkerState.IDLE), 0),
        (1, workers(WorkerState.STARTING), 0),
        (1, workers(WorkerState.BUSY), 1),
        (3, workers(WorkerState.BUSY, WorkerState.IDLE), 2),
        (1, workers(WorkerState.DRAINING), 1),
        (1, workers(WorkerState.FAILING, since=NOW), 1),
    ],
)
def test_what_is_missing_is_started_at_once(queued: int, seen: list[SeenWorker], start: int) -> None:
    decision = decided(queued, seen)
    assert (decision.start, decision.drain) == (start, [])
    assert decision.reason


def test_the_minimum_is_kept_without_any_job() -> None:
    assert decided(0, [], least=2).start == 2
    assert "the minimum is 2" in decided(0, [], least=2).reason


def test_who_drains_or_fails_still_holds_a_place() -> None:
    full = workers(WorkerState.DRAINING, WorkerState.FAILING, since=NOW)
    assert decided(2, full, most=2).start == 0
    assert "1 draining, 1 failing" in decided(2, full, most=2).reason
    assert decided(2, full, most=3).start == 1


def test_workers_of_others_take_jobs_too_but_hold_no_place() -> None:
    others = workers(WorkerState.IDLE, WorkerState.BUSY, ours=False)
    assert decided(1, others).start == 0
    assert decided(2, others).start == 1
    assert decided(9, others, most=3).start == 3


def test_a_maximum_that_holds_jobs_back_is_said() -> None:
    assert (
        decided(5, workers(WorkerState.BUSY, WorkerState.BUSY), most=2).reason == "5 jobs waiting; at the maximum of 2"
    )


# --- back off ------------------------------------------------------------------------------------------------------


def test_starts_that_bring_no_worker_are_tried_ever_more_seldom() -> None:
    past, waits = LONG_AGO, []
    for _ in range(8):
        past = past.with_failures(1, NOW)
        waits.append(past.retry_at(RULES) - NOW)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert decided(3, [], past=past, now=NOW + 299).start == 0
    assert decided(3, [], past=past, now=NOW + 299).reason == "the last 8 starts came to nothing; the next try in 1 s"


def test_after_failures_one_worker_is_the_test() -> None:
    past = LONG_AGO.with_failures(2, NOW)
    assert decided(3, [], past=past, now=NOW + 10).start == 1
    assert decided(3, [], past=replace(past, failures=0), now=NOW + 10).start == 3


def test_a_worker_that_runs_and_says_nothing_is_stopped_after_a_while() -> None:
    silent = workers(WorkerState.FAILING, since=NOW - 180)
    assert decided(0, silent).drain == ["w0"]
    assert decided(0, workers(WorkerState.FAILING, since=NOW - 179)).drain == []
    assert decided(0, workers(WorkerState.FAILING, since=0, ours=False)).drain == []


# --- down ----------------------------------------------------------------------------------------------------------


def remembered(*needs: tuple[float, int]) -> Past:
    past = LONG_AGO
    for ago, needed in sorted(needs, reverse=True):
        past = past.after(needed, RULES, NOW - ago)
    return past


@pytest.mark.parametrize(
    ("needs", "drained"),
    [
        ([(59, 3)], 0),
        ([(61, 3)], 2),  # two of three: the last stays longer
        ([(61, 3), (30, 2)], 1),
        ([(179, 3)], 2),
        ([(181, 3)], 3),
        ([(1, 0)], 3),
    ],
)
def test_what_was_not_needed_for_a_cooldown_is_drained(needs: list[tuple[float, int]], drained: int) -> None:
    decision = decided(0, workers(WorkerState.IDLE, WorkerState.IDLE, WorkerState.IDLE), past=remembered(*needs))
    assert (decision.start, len(decision.drain)) == (0, drained)


def test_only_idle_workers_are_drained_the_newest_first() -> None:
    seen = [
        SeenWorker("old", "cpu", WorkerState.IDLE, since=1),
        SeenWorker("busy", "cpu", WorkerState.BUSY, since=3),
        SeenWorker("new", "cpu", WorkerState.IDLE, since=2),
    ]
    assert decided(0, seen, past=remembered((100, 2), (1, 2))).drain == ["new"]
    assert decided(0, seen, past=remembered((100, 1), (1, 1))).drain == ["new", "old"]


def test_an_autoscaler_that_has_just_come_drains_nothing() -> None:
    idle = workers(WorkerState.IDLE, WorkerState.IDLE)
    assert decided(0, idle, past=Past(began=NOW - 59)).drain == []
    assert decided(0, idle, past=Past(began=NOW - 181)).drain == ["w0", "w1"]


def test_the_minimum_stays() -> None:
    assert decided(0, workers(WorkerState.IDLE, WorkerState.IDLE), least=1).drain == ["w0"]


def test_above_a_lowered_maximum_the_idle_go_first_then_the_least_advanced() -> None:
    seen = [
        SeenWorker("far", "cpu", WorkerState.BUSY, percent=80),
        SeenWorker("idle", "cpu", WorkerState.IDLE),
        SeenWorker("near", "cpu", WorkerState.BUSY, percent=20),
    ]
    assert decided(0, seen, most=2).drain == ["idle"]
    assert decided(0, seen, most=1).drain == ["idle", "near"]
    assert decided(5, seen, most=0).drain == ["idle", "near", "far"]


def test_workers_of_others_are_never_drained() -> None:
    assert decided(0, workers(WorkerState.IDLE, WorkerState.IDLE, ours=False)).drain == []


# --- jobs for any device -------------------------------------------------------------------------------------------

POOLS = [Pool(kind="cuda", min=0, max=1), Pool(kind="cpu", min=0, max=2)]


def test_a_pool_that_cannot_start_now_does_not_keep_jobs_from_another() -> None:
    assert shares({"any": 2}, [], POOLS, closed=["cuda"]) == {"cuda": 0, "cpu": 2}
    assert shares({"any": 2}, [], POOLS, closed=["cuda", "cpu"]) == {"cuda": 2, "cpu": 0}
    held = [SeenWorker("g", "cuda", WorkerState.DRAINING), SeenWorker("f", "cpu", WorkerState.FAILING)]
    assert shares({"any": 1}, held, POOLS) == {"cuda": 0, "cpu": 1}


@pytest.mark.parametrize(
    ("waiting", "seen", "share"),
    [
        ({"any": 1}, [], {"cuda": 1, "cpu": 0}),
        ({"any": 3}, [], {"cuda": 1, "cpu": 2}),
        ({"any": 5}, [], {"cuda": 3, "cpu": 2}),
        ({"any": 1}, workers(WorkerState.IDLE), {"cuda": 0, "cpu": 1}),
        ({"any": 1, "cpu": 1}, workers(WorkerState.IDLE), {"cuda": 1, "cpu": 1}),
        ({"any": 2}, [SeenWorker("g", "cuda", WorkerState.BUSY)], {"cuda": 0, "cpu": 2}),
        ({"any": 1, "mps": 4}, [], {"cuda": 1, "cpu": 0}),
        ({"any": 2}, [SeenWorker("mac", "mps", WorkerState.IDLE, ours=False)], {"cuda": 1, "cpu": 0}),
    ],
)
def test_jobs_for_any_device_go_to_who_is_free_then_to_the_first_pool_with_room(
    waiting: dict[str, int], seen: list[SeenWorker], share: dict[str, int]
) -> None:
    assert shares(waiting, seen, POOLS) == share


# --- passes that could be shared -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "helpers", "boot", "wanted"),
    [
        (100.0, 999, None, 0),  # no boot was seen yet
        (100.0, 999, 60.0, 0),  # it would be over
        (240.0, 999, 60.0, 1),
        (239.0, 999, 60.0, 0),
        (3600.0, 999, 60.0, 29),
        (3600.0, 2, 60.0, 2),
        (3600.0, 0, 60.0, 0),  # limits.max_workers = 1
    ],
)
def test_a_pass_wants_helpers_while_its_rest_takes_twice_a_boot(
    seconds: float, helpers: int, boot: float | None, wanted: int
) -> None:
    passes = [SharedPass("cpu", seconds, helpers), SharedPass("cuda", 1e9, 999)]
    assert helpers_wanted(passes, "cpu", boot) == wanted


def test_helpers_are_started_within_the_maximum_and_kept_while_they_are_wanted() -> None:
    pool = Pool(kind="cpu", min=0, max=4)
    growing = decide(Look(0, workers(WorkerState.BUSY), pool, LONG_AGO, RULES, NOW, helping=29))
    assert (growing.start, growing.needed, growing.helping) == (3, 30, 29)
    assert "passes that 29 workers would shorten" in growing.reason
    helping = workers(WorkerState.BUSY, WorkerState.IDLE, WorkerState.IDLE)
    assert not decide(Look(0, helping, pool, LONG_AGO, RULES, NOW, helping=2)).acts
    assert len(decide(Look(0, helping, pool, LONG_AGO, RULES, NOW, helping=0)).drain) == 2
