"""The life of a job: which status may follow which, and why. One table; the Lua scripts are handed the same."""

from enum import StrEnum


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Action(StrEnum):
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"


S = Status

MOVES: dict[Status, frozenset[Status]] = {
    S.QUEUED: frozenset({S.RUNNING, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.QUEUED, S.PAUSING, S.CANCELLING}),
    S.PAUSING: frozenset({S.PAUSED, S.CANCELLING, S.SUCCEEDED, S.FAILED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLED}),
    S.CANCELLING: frozenset({S.CANCELLED, S.SUCCEEDED, S.FAILED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}

# What a user's wish does at once. Where an owner is at work, it is only noted, and the owner carries it out.
REQUESTS: dict[Action, dict[Status, Status]] = {
    Action.CANCEL: {
        S.QUEUED: S.CANCELLED,
        S.RUNNING: S.CANCELLING,
        S.PAUSING: S.CANCELLING,
        S.PAUSED: S.CANCELLED,
    },
    Action.PAUSE: {S.QUEUED: S.PAUSED, S.RUNNING: S.PAUSING},
    Action.RESUME: {S.PAUSED: S.QUEUED},
}

# Where a job goes when its owner lets go of it or is lost: to where its wish leads.
HANDED_BACK: dict[Status, Status] = {S.RUNNING: S.QUEUED, S.PAUSING: S.PAUSED, S.CANCELLING: S.CANCELLED}

OWNED = frozenset(HANDED_BACK)  # the statuses in which a worker holds the job
ENDED = frozenset(status for status, after in MOVES.items() if not after)


def allowed_actions(status: Status) -> list[Action]:
    """What a user may ask for now, in the order of `Action`."""
    if status in ENDED:
        return [Action.DELETE]
    return [action for action, moves in REQUESTS.items() if status in moves]
