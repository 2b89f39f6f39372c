"""What must hold between the durations, at any scale; and that no other place spells one."""

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.contract.timing import RELATIONS, Timing, TrainerTiming
from services.settings import Settings

ROOT = Path(__file__).parents[2]

BREAKS: dict[str, dict[str, Any]] = {
    "a lease outlasts several renewals that fail": {"renew_every": 6.0},
    "a renewal that hangs is known to have failed before the trainer must die": {"socket": 5.0},
    "a trainer is killed before its lease ends": {"cancel_grace": 5.0},
    "an attempt gives up before its lease ends": {"attempt_patience": 26.0},
    "a running attempt's folder is touched before it could be swept": {"work_folder": 10.0},
    "a pass outlives its shards' leases": {"pass_kept": 300.0},
    "a worker is not gone for a heartbeat or two that fail": {"heartbeat": 5.0},
    "a silent worker is gone before it is stopped": {"worker_silence": 15.0},
    "a worker has time for its trainer's checkpoint": {"stop_grace": 15.0},
    "a container has the time of its worker": {"container_stop": 14.0},
    "an autoscaler has time for its workers": {"autoscaler_stop": 15.0},
    "the API has time for its requests and its last traces": {"api_grace": 9.0},
    "a turn is renewed before it ends": {"reaper_turn": 5.0},
    "a stream's heartbeat comes before anyone takes it for dead": {"stream_heartbeat": 20.0},
    "a slow body is cut before its client gives up": {"linger": 10.0},
    "an idle worker looks at the line before its reaper would": {"look_every": 5.0},
    "a retry finds its first try for longer than that may take": {"submission_by_body": 10.0},
    "a trainer that works is never silent for long": {"trainer_silence": 30.0},
    "a stream that comes back finds its job's history where it was": {"history_stays": 3.0},
    "a webhook is answered, and its answer noted, before anyone else tries": {"webhook_lease": 30.0},
    "checkpoints keep their distance": {"trainer": TrainerTiming(checkpoint_gap=10.0)},
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_timings_that_do_not_hold_together_are_refused_with_the_sentence(relation: str) -> None:
    with pytest.raises(ValidationError, match=relation):
        Timing(**BREAKS[relation])


@pytest.mark.parametrize("factor", [0.01, 0.12, 0.2, 0.55, 1.0, 7.0])
def test_one_factor_scales_all_of_them_and_they_still_hold_together(factor: float) -> None:
    scaled = Settings(time_scale=factor).timing
    assert scaled.lease == pytest.approx(30 * factor)
    assert scaled.trainer.checkpoint_every == pytest.approx(10 * factor)


def test_no_duration_is_spelled_elsewhere() -> None:
    """A constant whose line speaks of seconds would be one."""
    found = []
    for path in [path for folder in ("services", "workers") for path in (ROOT / folder).rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                line = path.read_text().splitlines()[node.lineno - 1]
                if isinstance(node.value.value, int | float) and "second" in line:
                    found.append(f"{path.name}: {line}")
    assert found == []
