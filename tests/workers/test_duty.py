"""A worker's duty: from each phase, what each wish leads to; and the process is told to end exactly once."""

import threading

import pytest

from workers.duty import Duty, Phase


class Ends:
    """Counts how often the process was told to end."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def in_phase(phase: Phase) -> tuple[Duty, Ends]:
    ends = Ends()
    duty = Duty(ends)
    if phase in (Phase.TAKING, Phase.LEAVING):
        assert duty.begin()
    if phase is Phase.LEAVING:
        duty.leave()
    if phase is Phase.DRAINING:
        duty.drain()
        ends.count = 0
    assert duty.phase is phase
    return duty, ends


@pytest.mark.parametrize(
    ("phase", "wish", "after", "ends"),
    [
        (Phase.IDLE, "begin", Phase.TAKING, 0),
        (Phase.IDLE, "leave", Phase.DRAINING, 1),
        (Phase.IDLE, "drain", Phase.DRAINING, 1),
        (Phase.IDLE, "process_ends", Phase.DRAINING, 0),
        (Phase.TAKING, "begin", Phase.TAKING, 0),
        (Phase.TAKING, "end", Phase.IDLE, 0),
        (Phase.TAKING, "leave", Phase.LEAVING, 0),
        (Phase.TAKING, "drain", Phase.DRAINING, 1),
        (Phase.TAKING, "process_ends", Phase.DRAINING, 0),
        (Phase.LEAVING, "begin", Phase.LEAVING, 0),
        (Phase.LEAVING, "leave", Phase.LEAVING, 0),
        (Phase.LEAVING, "end", Phase.DRAINING, 1),
        (Phase.LEAVING, "drain", Phase.DRAINING, 1),
        (Phase.LEAVING, "process_ends", Phase.DRAINING, 0),
        *((Phase.DRAINING, wish, Phase.DRAINING, 0) for wish in ("begin", "end", "leave", "drain", "process_ends")),
    ],
)
def test_each_wish_leads_where_the_drawing_says(phase: Phase, wish: str, after: Phase, ends: int) -> None:
    duty, told = in_phase(phase)
    getattr(duty, wish)()
    assert (duty.phase, told.count) == (after, ends)


@pytest.mark.parametrize("phase", [Phase.TAKING, Phase.LEAVING, Phase.DRAINING])
def test_only_an_idle_worker_may_look_for_a_job(phase: Phase) -> None:
    assert not in_phase(phase)[0].begin()


def test_a_job_that_ends_while_its_worker_is_asked_to_leave_ends_the_process_once_and_no_other_is_taken() -> None:
    for _ in range(200):
        ends = Ends()
        duty = Duty(ends)
        assert duty.begin()
        wishes = [threading.Thread(target=wish) for wish in (duty.end, duty.leave, duty.drain, duty.leave)]
        for thread in wishes:
            thread.start()
        for thread in wishes:
            thread.join()
        assert (duty.phase, ends.count) == (Phase.DRAINING, 1)
        assert not duty.begin()
