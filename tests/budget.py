"""What tests cost: processor seconds by group, held to a budget, so that the suite stays as quick as it is.

Counted are a test's own process and the processes that it waited for, in seconds of a core that adds ten million
integers in half a one. A test over LONG is marked `slow`; a group over its budget makes room for a new proof by moving
an old one, to a cheaper place or to the nightly run. Both are said; `make test ARGS=--budget` fails where it is plain,
by SLACK: processors differ in more than how they add integers, and others may use this one.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

LONG = 5.0
SLACK = {"group": 1.75, "test": 3.0}  # `workers` took from 517 to 697 in four runs on one machine
COST = "processor seconds of "
BUDGETS = {
    "api": 170.0,
    "autoscaler": 90.0,
    "chaos": 310.0,
    "client": 375.0,
    "dashboard": 200.0,
    "contract": 45.0,
    "datasets": 12.0,
    "e2e": 120.0,
    "store": 60.0,
    "workers": 600.0,
    "the rest": 60.0,
}


def spent() -> float:
    """Processor seconds of this process, and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def pace() -> float:
    """How much longer than half a second this core takes to add ten million integers."""
    began, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return (time.process_time() - began) / 0.5


def group_of(nodeid: str) -> str:
    folder = nodeid.split("/")[1]
    return folder if folder in BUDGETS else "the rest"


@dataclass(eq=False)  # pytest keeps its plugins in sets
class Budget:
    """A plugin of the process that reports, whichever ran a test."""

    enforced: bool
    groups: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, float] = field(default_factory=dict)  # of tests that are not marked slow
    unit: float = field(default_factory=pace)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cost = dict(report.user_properties).get(COST + report.when)
        if isinstance(cost, float):
            self.groups[group_of(report.nodeid)] += cost
            if report.when == "call" and "slow" not in report.keywords:
                self.calls[report.nodeid] = cost

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.unit = (self.unit + pace()) / 2
        if (
            self.enforced
            and self._over_budget(SLACK["group"]) + self._unmarked(SLACK["test"])
            and session.exitstatus == pytest.ExitCode.OK
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"processor seconds; this core takes {self.unit:.2f} of the usual time")
        for group, seconds in sorted(self.groups.items(), key=lambda entry: -entry[1]):
            terminalreporter.write_line(f"{seconds / self.unit:8.1f} of {BUDGETS[group]:g}  {group}")
        for sentence in self._over_budget() + self._unmarked():
            terminalreporter.write_line(sentence, red=True)

    def _over_budget(self, slack: float = 1.0) -> list[str]:
        costs = {group: seconds / self.unit for group, seconds in self.groups.items()}
        return [f"{group} is over its budget" for group, cost in costs.items() if cost > BUDGETS[group] * slack]

    def _unmarked(self, slack: float = 1.0) -> list[str]:
        costs = {test: seconds / self.unit for test, seconds in self.calls.items()}
        over = {test: cost for test, cost in costs.items() if cost > LONG * slack}
        return [f"{test} takes {cost:.1f}: make it cheaper, or mark it slow" for test, cost in over.items()]


def counted(item: pytest.Item, when: str) -> Iterator[None]:
    """Around a test's phase, in the process that runs it."""
    began = spent()
    try:
        return (yield)
    finally:
        item.user_properties.append((COST + when, spent() - began))
