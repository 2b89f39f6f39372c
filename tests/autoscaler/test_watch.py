"""What is seen of workers: who reports, who is silent, who was asked, who failed to come."""

from services.autoscaler.decide import WorkerState
from services.autoscaler.providers import Condition, WorkerInstance
from services.autoscaler.watch import Watch
from services.contract.fleet import Worker
from tests.reports import worker

SILENCE = 180.0
ASK_AGAIN = 10.0
NOW = 1_000_000.0


def watching() -> Watch:
    return Watch(silence=SILENCE, ask_again=ASK_AGAIN)


def instance(condition: Condition = Condition.RUNNING, id: str = "c1") -> WorkerInstance:
    return WorkerInstance(id, "cpu", condition, id)


def report(id: str = "w1", host: str = "c1", **changes: object) -> Worker:
    return worker(id).model_copy(update={"host": host, **changes})


def states(watch: Watch, instances: list[WorkerInstance], reports: list[Worker], now: float) -> list[WorkerState]:
    return [seen.state for seen in watch.look(instances, reports, now).workers]


def test_a_worker_starts_then_is_what_it_says() -> None:
    watch = watching()
    assert states(watch, [instance()], [], NOW) == [WorkerState.STARTING]
    assert states(watch, [instance()], [report()], NOW + 10) == [WorkerState.IDLE]
    assert states(watch, [instance()], [report(status="busy")], NOW + 11) == [WorkerState.BUSY]
    assert watch.worker_of("c1") == "w1"


def test_one_that_says_nothing_is_no_worker_and_after_a_while_to_be_stopped() -> None:
    watch = watching()
    watch.look([instance()], [report()], NOW)
    [seen] = watch.look([instance()], [], NOW + 16).workers
    assert (seen.state, seen.since) == (WorkerState.FAILING, NOW)
    never = watching()
    assert states(never, [instance()], [], NOW) == [WorkerState.STARTING]
    assert states(never, [instance()], [], NOW + SILENCE) == [WorkerState.FAILING]


def test_one_that_was_asked_drains_until_it_is_gone() -> None:
    watch = watching()
    watch.look([instance()], [report()], NOW)
    watch.note_ask("c1", NOW)
    assert states(watch, [instance()], [report()], NOW + 1) == [WorkerState.DRAINING]
    assert states(watch, [instance()], [], NOW + 5) == [WorkerState.DRAINING]
    sight = watch.look([instance(Condition.ENDED)], [report()], NOW + 6)
    assert (sight.workers, dict(sight.failed)) == ([], {})


def test_a_wish_that_was_lost_is_forgotten_so_that_it_can_be_asked_again() -> None:
    watch = watching()
    watch.look([instance()], [report()], NOW)
    watch.note_ask("c1", NOW)
    assert states(watch, [instance()], [report()], NOW + ASK_AGAIN + 1) == [WorkerState.IDLE]
    watch.note_ask("c1", NOW + 20)
    assert states(watch, [instance()], [report(status="draining")], NOW + 99) == [WorkerState.DRAINING]


def test_one_that_hangs_while_it_drains_is_to_be_stopped_once_in_a_while() -> None:
    watch = watching()
    watch.look([instance()], [report()], NOW)
    watch.note_ask("c1", NOW)
    assert states(watch, [instance()], [], NOW + SILENCE + 1) == [WorkerState.FAILING]
    watch.note_ask("c1", NOW + SILENCE + 1)
    assert states(watch, [instance()], [], NOW + SILENCE + 2) == [WorkerState.DRAINING]


def test_a_worker_that_was_started_again_in_its_place_is_another_one() -> None:
    watch = watching()
    watch.look([instance()], [report(started_at=1)], NOW)
    watch.note_ask("c1", NOW)
    both = [report(started_at=1), report("w2", started_at=2)]
    assert states(watch, [instance()], both, NOW + 3) == [WorkerState.IDLE]
    assert watch.worker_of("c1") == "w2"


def test_the_last_report_of_one_that_is_gone_is_no_worker_of_somebody_else() -> None:
    watch = watching()
    watch.look([instance()], [report()], NOW)
    assert states(watch, [instance(Condition.DIED)], [report()], NOW + 1) == []
    assert states(watch, [], [report()], NOW + 2) == []
    [other] = watch.look([], [report("w9", host="elsewhere")], NOW + 3).workers
    assert (other.state, other.ours) == (WorkerState.IDLE, False)


def test_starts_that_come_to_nothing_are_counted_once_each() -> None:
    watch = watching()
    watch.look([instance()], [], NOW)
    assert watch.look([instance(Condition.DIED)], [], NOW + 1).failed == {"cpu": 1}
    watch.look([instance(id="c2")], [], NOW + 2)
    again = [instance(condition, "c2") for condition in (Condition.FAILING, Condition.RUNNING, Condition.FAILING)]
    assert [watch.look([one], [], NOW + 3).failed.total() for one in again] == [1, 0, 0]
    assert states(watch, [instance(id="c2")], [], NOW + 4) == [WorkerState.FAILING]  # no capacity until it works
    sight = watch.look([instance(id="c2")], [report("w2", host="c2")], NOW + 5)
    assert sight.worked == {"cpu"} and [seen.state for seen in sight.workers] == [WorkerState.IDLE]


def test_what_had_ended_before_we_came_and_what_was_stopped_on_purpose_are_no_failures() -> None:
    watch = watching()
    assert watch.look([instance(Condition.ENDED), instance(Condition.DIED, "c2")], [], NOW).failed.total() == 0
    watch.look([instance(id="c3")], [], NOW)
    watch.note_ask("c3", NOW)
    assert watch.look([instance(Condition.DIED, "c3")], [], NOW + 1).failed.total() == 0


def test_how_long_a_start_takes_is_known_of_those_that_were_started() -> None:
    watch = watching()
    watch.look([instance()], [], NOW)
    watch.look([instance()], [report()], NOW + 99)  # it was there before
    assert watch.boots == {}
    watch.note_start("c2", NOW)
    watch.look([instance(id="c2")], [], NOW + 1)
    watch.look([instance(id="c2")], [report("w2", host="c2")], NOW + 12)
    watch.look([instance(id="c2")], [report("w2", host="c2")], NOW + 40)
    assert watch.boots == {"cpu": 12}
