"""Days of jobs, seeded: when each comes, and for how long it would hold a worker."""

import math
import random
from dataclasses import dataclass

DAY = 86_400


@dataclass(frozen=True)
class Arrival:
    at: float  # s
    seconds: float


def office_day(seed: int) -> list[Arrival]:
    """Few jobs at night, some 10 an hour in the afternoon, minutes each, a slow tail of hours."""
    draw = random.Random(seed)
    at, jobs = 0.0, []
    while (at := at + draw.expovariate(10 / 3600)) < DAY:
        if draw.random() < 0.5 - 0.5 * math.cos(2 * math.pi * (at / DAY - 0.1)):
            jobs.append(Arrival(at, min(draw.lognormvariate(math.log(180), 1.2), 4 * 3600)))
    return jobs


def bursts(seed: int) -> list[Arrival]:
    """Twenty jobs at once, every few hours: somebody tries learning rates."""
    draw = random.Random(seed)
    return [
        Arrival(start + draw.uniform(0, 5), draw.uniform(30, 120))
        for start in (draw.uniform(0, DAY) for _ in range(8))
        for _ in range(20)
    ]


def slow_tail(seed: int) -> list[Arrival]:
    """Short jobs beside a few that take half a day."""
    draw = random.Random(seed)
    short = [Arrival(draw.uniform(0, DAY), draw.uniform(20, 60)) for _ in range(200)]
    return sorted([*short, *(Arrival(draw.uniform(0, DAY / 4), DAY / 2) for _ in range(3))], key=lambda job: job.at)


def flapping(seed: int) -> list[Arrival]:
    """A short job each 90 s or so, all day: each alone would start a worker and let it go."""
    draw = random.Random(seed)
    return [Arrival(number * 90 + draw.uniform(0, 20), draw.uniform(5, 15)) for number in range(DAY // 90)]


DAYS = {"office": office_day, "bursts": bursts, "slow tail": slow_tail, "flapping": flapping}
