"""A worker's duty: from each phase, what each wish leads to; and the process is told to end exactly once."""

import threading

import pytest

from workers.duty import Duty, DutyPhase


class Ends:
    """Counts how often the process was told to end."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def in_phase(phase: DutyPhase) -> tuple[Duty, Ends]:
    ends = Ends()
    duty = Duty(ends)
    if phase in (DutyPhase.TAKING, DutyPhase.LEAVING):
        assert duty.begin()
    if phase is DutyPhase.LEAVING:
        duty.leave()
    if phase is DutyPhase.DRAINING:
        duty.drain()
        ends.count = 0
    assert duty.phase is phase
    return duty, ends


@pytest.mark.parametrize(
    ("phase", "wish", "after", "ends"),
    [
        (DutyPhase.IDLE, "begin", DutyPhase.TAKING, 0),
        (DutyPhase.IDLE, "leave", DutyPhase.DRAINING, 1),
        (DutyPhase.IDLE, "drain", DutyPhase.DRAINING, 1),
        (DutyPhase.IDLE, "process_ends", DutyPhase.DRAINING, 0),
        (DutyPhase.TAKING, "begin", DutyPhase.TAKING, 0),
        (DutyPhase.TAKING, "end", DutyPhase.IDLE, 0),
        (DutyPhase.TAKING, "leave", DutyPhase.LEAVING, 0),
        (DutyPhase.TAKING, "drain", DutyPhase.DRAINING, 1),
        (DutyPhase.TAKING, "process_ends", DutyPhase.DRAINING, 0),
        (DutyPhase.LEAVING, "begin", DutyPhase.LEAVING, 0),
        (DutyPhase.LEAVING, "leave", DutyPhase.LEAVING, 0),
        (DutyPhase.LEAVING, "end", DutyPhase.DRAINING, 1),
        (DutyPhase.LEAVING, "drain", DutyPhase.DRAINING, 1),
        (DutyPhase.LEAVING, "process_ends", DutyPhase.DRAINING, 0),
        *(
            (DutyPhase.DRAINING, wish, DutyPhase.DRAINING, 0)
            for wish in ("begin", "end", "leave", "drain", "process_ends")
        ),
    ],
)
def test_each_wish_leads_where_the_drawing_says(phase: DutyPhase, wish: str, after: DutyPhase, ends: int) -> None:
    duty, told = in_phase(phase)
    getattr(duty, wish)()
    assert (duty.phase, told.count) == (after, ends)


@pytest.mark.parametrize("phase", [DutyPhase.TAKING, DutyPhase.LEAVING, DutyPhase.DRAINING])
def test_only_an_idle_worker_may_look_for_a_job(phase: DutyPhase) -> None:
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
        assert (duty.phase, ends.count) == (DutyPhase.DRAINING, 1)
        assert not duty.begin()
