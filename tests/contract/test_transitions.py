from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given

from services.contract.transitions import (
    ENDED,
    HANDED_BACK,
    MOVES,
    OWNED,
    REQUESTS,
    Action,
    Status,
    allowed_actions,
)

statuses = st.sampled_from(Status)


@given(statuses, st.lists(st.sampled_from(Action), max_size=20))
def test_whatever_is_asked_a_job_only_moves_along_the_table(status: Status, wishes: list[Action]) -> None:
    for wish in wishes:
        after = REQUESTS.get(wish, {}).get(status, status)
        assert after == status or after in MOVES[status]
        assert (after != status) == (wish in allowed_actions(status) and wish is not Action.DELETE)
        status = after


@given(st.lists(statuses, min_size=2, max_size=12))
def test_no_path_leads_out_of_an_end(path: list[Status]) -> None:
    for before, after in pairwise(path):
        if before in ENDED:
            assert after not in MOVES[before]


def test_every_job_can_reach_an_end_from_everywhere() -> None:
    reached = set(ENDED)
    while more := {status for status in Status if status not in reached and MOVES[status] & reached}:
        reached |= more
    assert reached == set(Status)


def test_a_lost_owner_leads_to_where_its_wish_leads() -> None:
    assert HANDED_BACK == {
        Status.RUNNING: Status.QUEUED,
        Status.PAUSING: Status.PAUSED,
        Status.CANCELLING: Status.CANCELLED,
    }
    assert all(after in MOVES[before] for before, after in HANDED_BACK.items())
    assert OWNED.isdisjoint(ENDED)


def test_the_allowed_actions_are_those_of_the_design() -> None:
    assert {status: [str(action) for action in allowed_actions(status)] for status in Status} == {
        "queued": ["cancel", "pause"],
        "running": ["cancel", "pause"],
        "pausing": ["cancel"],
        "paused": ["cancel", "resume"],
        "cancelling": [],
        "succeeded": ["delete"],
        "failed": ["delete"],
        "cancelled": ["delete"],
    }
