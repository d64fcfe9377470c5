"""How a worker tells the driver of a trial's steps."""

from __future__ import annotations

from typing import Any

import pytest

from rfprune.execution.worker import Reporter, StoppedError, read_report
from rfprune.results import StepRecord
from rfprune.study.record import Ended


class Driver:
    """Keeps what it is told, and stops the trial after so many reports; its clock stands still."""

    def __init__(self, reports: int = 99) -> None:
        self.told: list[list[tuple[int, dict[str, Any] | Ended]]] = []
        self.now = 0.0
        self._left = reports

    def take(self, report: dict[str, str]) -> bool:
        self.told.append(read_report(report))
        self._left -= 1
        return self._left > 0


def step(index: int) -> StepRecord:
    return StepRecord(step=index, accepted=index != 1, values={"dsp": float(index)})


def test_steps_at_once_go_with_the_end() -> None:
    driver = Driver()
    reporter = Reporter(driver.take, at_once=False, folder=3, clock=lambda: driver.now)
    ended = Ended(steps=[{"dsp": 0.0}], seconds=0.5)
    reporter.step(step(0))
    reporter.step(step(1))
    reporter.end(ended)
    events = [{**step(0).facts(), "accepted": True}, {**step(1).facts(), "accepted": False}, ended]
    assert driver.told == [[(3, event) for event in events]]


def test_a_step_after_a_while_goes_at_once_and_takes_along_what_waited() -> None:
    driver = Driver()
    reporter = Reporter(driver.take, at_once=False, folder=3, clock=lambda: driver.now)
    reporter.step(step(0))
    driver.now = 2.0
    reporter.step(step(1))
    reporter.step(step(2))
    assert [len(report) for report in driver.told] == [2]
    driver.now = 4.0
    reporter.step(step(3))
    assert [len(report) for report in driver.told] == [2, 2]


def test_a_driver_that_judges_hears_of_each_step_before_the_next_begins() -> None:
    driver = Driver(reports=2)
    reporter = Reporter(driver.take, at_once=True, folder=3, clock=lambda: driver.now)
    reporter.step(step(0))
    with pytest.raises(StoppedError):
        reporter.step(step(1))
    assert [len(report) for report in driver.told] == [1, 1]


def test_what_is_no_report_says_nothing() -> None:
    assert read_report(None) == []
    assert read_report({"done": True}) == []
