"""Redis in trouble: restarted, gone, cut off, full, read-only. Jobs go on, on their curve."""

import signal
import time
from pathlib import Path

import httpx
import pytest
import redis

from tests.chaos.conftest import Holds, Submit
from tests.chaos.house import House, Part
from tests.chaos.line import Mode
from tests.chaos.verdict import reasons
from tests.conftest import running_valkey
from tests.jobs import JOBS
from tests.processes import alive
from tests.waiting import wait_until


def test_a_redis_that_is_restarted_costs_a_job_nothing(house: House, submit: Submit, holds: Holds) -> None:
    job = submit()
    another = _restarted(house, submit, signal.SIGTERM)
    assert reasons(holds(job)) == reasons(holds(another)) == ["succeeded"]


def test_a_redis_that_is_killed_costs_its_last_second_at_most(house: House, submit: Submit, holds: Holds) -> None:
    """Where it lost some, what the attempt says next does not follow, and another goes on from the checkpoint."""
    job = submit()
    another = _restarted(house, submit, signal.SIGKILL)
    assert reasons(holds(job)) in (["succeeded"], ["released", "succeeded"])
    assert reasons(holds(another)) == ["succeeded"]


def _restarted(house: House, submit: Submit, how: signal.Signals) -> str:
    """A job that was submitted then: the idle worker has found its way back too."""
    house.store.send(how)
    house.store.wait()
    house.store.start()
    wait_until(house.is_ready)
    return submit(steps=0)


def test_a_redis_that_is_gone_for_two_leases_costs_an_attempt_and_a_line_in_each_log(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    logs = {part.name: _length(part) for part in house.parts}
    house.store.kill()
    trainers = house.trainers()
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        house.client.get(f"{JOBS}/{job}").raise_for_status()
    gone_at = time.monotonic()
    wait_until(lambda: not any(map(alive, trainers)), seconds=house.timing.lease)  # before the lease ends
    wait_until(lambda: time.monotonic() - gone_at > 2 * house.timing.lease, seconds=90)
    house.store.start()
    assert reasons(holds(job)) == ["worker_lost", "succeeded"]
    for part in (house.api, house.reaper, *house.workers):
        said = part.log.read_text(errors="replace")[logs[part.name] :]
        assert said.count("Redis is away") == 1, part.name
        assert "Redis is back" in said or part is house.api, part.name
        assert len(said.splitlines()) < 30, part.name


def _length(part: Part) -> int:
    return len(part.log.read_text(errors="replace"))


@pytest.mark.parametrize("how", [Mode.SWALLOWED, Mode.DEAF])
def test_a_worker_cut_off_for_less_than_its_lease_keeps_its_job(
    house: House, submit: Submit, holds: Holds, how: Mode
) -> None:
    job = submit()
    line = house.line_of(house.worker_of(job))
    line.cut(how)
    cut_at = time.monotonic()
    wait_until(lambda: time.monotonic() - cut_at > house.timing.lease / 4)
    line.mend()
    assert reasons(holds(job)) == ["succeeded"]


def test_a_worker_cut_off_for_longer_writes_no_more_and_another_goes_on(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    cut_off = _cut_off_until_its_trainer_ends(house, job, Mode.SWALLOWED)
    wait_until(lambda: house.look(job)["attempt"] == 2, seconds=60)
    assert house.worker_of(job) is not cut_off
    house.line_of(cut_off).mend()
    assert reasons(holds(job)) == ["worker_lost", "succeeded"]


def test_a_trainer_that_ends_while_nobody_can_hear_it_is_repeated_not_blamed(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    cut_at = time.monotonic()
    house.line_of(house.worker_of(job)).cut(Mode.REFUSED)
    house.gate.open()
    cut_off = _cut_off_until_its_trainer_ends(house, job, Mode.REFUSED)
    wait_until(lambda: time.monotonic() - cut_at > house.timing.attempt_patience + 2, seconds=30)
    house.line_of(cut_off).mend()
    told = holds(job)
    assert told.job["status"] == "succeeded"
    assert len(reasons(told)) == 2


def _cut_off_until_its_trainer_ends(house: House, job: str, how: Mode) -> Part:
    worker = house.worker_of(job)
    trainers = house.trainers_of(worker)
    house.line_of(worker).cut(how)
    wait_until(lambda: not any(map(alive, trainers)), seconds=30)
    return worker


def test_an_api_on_a_half_open_line_answers_503_and_finds_its_way_back(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    house.line_of(house.api).cut(Mode.SWALLOWED)
    began = time.monotonic()
    answers = [house.client.get(f"{JOBS}/{job}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].headers["Retry-After"]
    assert time.monotonic() - began < 5 * house.timing.socket
    house.line_of(house.api).mend()
    wait_until(house.is_ready, seconds=5)
    holds(job)


def test_a_full_redis_refuses_submissions_while_training_goes_on_and_ends_are_recorded(
    house: House, submit: Submit, holds: Holds
) -> None:
    job = submit()
    waiting = submit(steps=0, device="cuda")  # nobody takes it
    house.redis.config_set("maxmemory", "1mb")
    refused = house.client.post(JOBS, json={"training_file": house.look(job)["training_file"]})
    assert refused.status_code == 507
    assert "maxmemory" in refused.json()["detail"]
    assert house.client.post(f"{JOBS}/{waiting}/cancel").json()["status"] == "cancelled"
    told = holds(job)
    assert reasons(told) == ["succeeded"]
    assert any("was not kept" in event["message"] for event in told.events if event["level"] == "warn")


def test_a_full_redis_ends_no_worker_and_a_job_that_waits_is_taken(house: House, submit: Submit, holds: Holds) -> None:
    for worker in house.workers:
        worker.send(signal.SIGSTOP)
    job = submit(steps=0)
    house.redis.config_set("maxmemory", "1mb")
    for worker in house.workers:
        worker.send(signal.SIGCONT)
    assert reasons(holds(job)) == ["succeeded"]  # its hint was there already, and a claim is never refused
    assert all(part.is_alive for part in house.workers)


def test_after_a_failover_to_a_replica_everything_moves_to_the_new_primary(
    house: House, submit: Submit, holds: Holds, tmp_path: Path
) -> None:
    replica_socket = house.folder / "replica.sock"
    port = house.lines["api"].port
    house.redis.config_set("repl-diskless-sync-delay", 0)
    with running_valkey(replica_socket, tmp_path, "--replicaof", f"127.0.0.1 {port}") as url:
        replica = redis.Redis.from_url(url, decode_responses=True)
        wait_until(lambda: replica.info("replication")["master_link_status"] == "up")
        job = submit()
        replica.replicaof("NO", "ONE")
        for line in house.lines.values():
            line.lead_to(replica_socket)
        house.redis.replicaof("127.0.0.1", str(port))  # the old primary is a replica now: it takes no more writes
        told = holds(job)
        assert told.job["status"] == "succeeded"
        wait_until(lambda: house.redis.info("replication")["master_link_status"] == "up")
        _back_home(house, replica)


def _back_home(house: House, replica: "redis.Redis") -> None:
    """The old primary is the primary again, with all that the other one was told."""
    house.redis.replicaof("NO", "ONE")
    for line in house.lines.values():
        line.lead_to(house.socket)
        line.cut(Mode.REFUSED)
        line.mend()
    replica.close()
