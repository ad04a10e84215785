"""What tests cost: `pytest --times=FILE` writes the functions of both lanes, the dearest first.

The time is the processor's, user and system, of the test and of the processes that it starts and waits for: a busy
machine changes it little. Fixtures count where they are first asked for, a session's in every worker anew.
"""

import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

START = pytest.StashKey[float]()
LANES = ("fast", "slow")


def spent() -> float:
    """Return the seconds of CPU time that this process and the children it has waited for have used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class Times:
    """Measures where tests run, and collects and writes where they are reported: with xdist two processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.costs: dict[tuple[str, str], list[float]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        item.stash[START] = spent()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:  # the report of the teardown carries it to the process that collects
            item.user_properties.append(("cpu", spent() - item.stash[START]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            lane = "slow" if "slow" in report.keywords else "fast"
            cost = dict(report.user_properties).get("cpu", 0.0)
            self.costs[lane, report.nodeid.partition("[")[0]].append(float(str(cost)))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(table(self.costs), encoding="utf-8")


def table(costs: dict[tuple[str, str], list[float]]) -> str:
    """Return both lists: seconds of CPU time of all cases, of the dearest case, the number of cases, the function."""
    lines: list[str] = []
    for lane in LANES:
        found = {name: each for (its, name), each in costs.items() if its == lane}
        cases, total = sum(map(len, found.values())), sum(map(sum, found.values()))
        lines.append(f"{lane}: {total:.0f} s of CPU time, {cases} cases of {len(found)} functions")
        for name, each in sorted(found.items(), key=lambda pair: -sum(pair[1])):
            lines.append(f"{sum(each):8.2f} {max(each):7.2f} {len(each):5d}  {name}")
        lines.append("")
    return "\n".join(lines)
