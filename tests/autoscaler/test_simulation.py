"""Simulated days: bursts, slow tails, flapping; and the same traffic under KEDA's formula."""

from collections.abc import Callable
from functools import cache

import pytest

from services.autoscaler.decide import Rules
from services.contract.fleet import Pool
from tests.autoscaler.simulation import MOST, START, Fixed, Headway, House, Keda, Kubernetes, simulated
from tests.autoscaler.traffic import DAYS, Arrival, slow_tail

Draw = Callable[[int], list[Arrival]]


SEEDS = [pytest.param((kind, 0), id=kind) for kind in DAYS]
SEEDS += [pytest.param((kind, 1), id=f"{kind}, another", marks=pytest.mark.nightly) for kind in DAYS]


@pytest.fixture(scope="module", params=SEEDS)
def day(request: pytest.FixtureRequest) -> tuple[list[Arrival], House]:
    kind, seed = request.param
    return DAYS[kind](seed), under_headway(kind, seed)


@cache
def under_headway(kind: str, seed: int) -> House:
    return simulated(DAYS[kind](seed), Headway())


def test_every_job_is_worked_on_and_none_is_interrupted(day: tuple[list[Arrival], House]) -> None:
    traffic, house = day
    assert len(house.waits) == len(traffic)
    assert house.interrupted == 0
    assert house.most <= MOST


def test_who_meets_a_free_place_waits_no_longer_than_a_start(day: tuple[list[Arrival], House]) -> None:
    _, house = day
    if house.most < MOST:
        assert max(house.waits) <= START + 2


def test_workers_cost_little_more_than_the_work(day: tuple[list[Arrival], House]) -> None:
    """A start, and a cool-down after each job: nothing else stays idle."""
    traffic, house = day
    work = sum(job.seconds + 1 for job in traffic)
    assert house.worker_seconds <= work + house.started * (START + 2) + len(traffic) * Rules().last_cooldown


def test_it_goes_to_zero_and_stays_there() -> None:
    house = simulated([Arrival(10.0, 5.0)], Headway())
    assert (house.workers, house.started) == ([], 1)
    assert house.worker_seconds <= START + 5 + Rules().last_cooldown + 3


def test_a_short_job_each_ninety_seconds_keeps_one_worker_and_starts_no_other() -> None:
    house = under_headway("flapping", 0)
    assert (house.started, house.most) == (1, 1)


@pytest.mark.slow
def test_a_minimum_and_a_maximum_hold_all_day() -> None:
    house = simulated(slow_tail(0), Headway(Pool(kind="cpu", min=2, max=3)))
    assert house.most == 3
    assert len(house.workers) == 2


def test_keda_interrupts_where_headway_does_not_and_headway_makes_nobody_wait_longer() -> None:
    ours, keda = under_headway("office", 0), simulated(DAYS["office"](0), Keda(running=False))
    assert keda.interrupted > 0 == ours.interrupted
    assert sum(ours.waits) < sum(keda.waits)


NIGHTLY = [pytest.param(kind, marks=pytest.mark.nightly) for kind in DAYS if kind != "office"]


@pytest.mark.parametrize("kind", ["office", *NIGHTLY])
def test_what_runs_on_kubernetes_interrupts_nothing_and_makes_few_wait(kind: str) -> None:
    house = simulated(DAYS[kind](0), Kubernetes())
    assert (len(house.waits), house.interrupted) == (len(DAYS[kind](0)), 0)
    if house.most < MOST:
        assert max(house.waits) <= START + 5 + 2  # a start, and a poll


def test_what_runs_on_kubernetes_goes_to_zero() -> None:
    assert simulated([Arrival(10.0, 5.0)], Kubernetes()).workers == []


def test_a_fixed_number_is_what_it_says() -> None:
    house = simulated([Arrival(100.0, 10.0)] * 3, Fixed(2))
    assert house.waits == [0.0, 0.0, 10.0]
    assert house.started == 2
