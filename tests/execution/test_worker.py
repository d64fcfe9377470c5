"""How a worker tells the driver of a trial's steps."""

from __future__ import annotations

from typing import Any

import pytest

from rfprune.core.turns import waiting
from rfprune.execution.worker import Reporter, StoppedError, read_report, run_slot
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


@pytest.mark.parametrize("n_trials", [1, 3])
def test_each_trial_of_a_slot_reports_for_itself(n_trials: int) -> None:
    driver, left = Driver(), [n_trials]

    def send(report: dict[str, str]) -> bool:
        driver.take(report)
        left[0] -= isinstance(driver.told[-1][-1][1], Ended)
        return left[0] > 0

    def execute(folder: int, attempt: int, on_step: Any) -> Ended:
        on_step(step(folder))
        with waiting():
            pass
        return Ended(stopped=f"attempt {attempt}")

    trials = [[folder, folder + 1] for folder in range(n_trials)]
    with pytest.raises(StoppedError):
        run_slot(trials, execute, send)
    ends = {f: e.stopped for told in driver.told for f, e in told if isinstance(e, Ended)}
    assert ends == {folder: f"attempt {folder + 1}" for folder in range(n_trials)}
    steps = [(f, e["step"]) for told in driver.told for f, e in told if isinstance(e, dict)]
    assert sorted(steps) == [(folder, folder) for folder in range(n_trials)]


def test_a_slot_that_is_stopped_stops_all_its_trials_and_asks_once() -> None:
    driver, ended = Driver(reports=1), []

    def execute(folder: int, attempt: int, on_step: Any) -> Ended:
        on_step(step(0))
        ended.append(folder)
        return Ended()

    with pytest.raises(StoppedError):
        run_slot([[0, 0], [1, 0], [2, 0]], execute, driver.take, at_once=True)
    assert ended == []
    assert len(driver.told) == 1


def test_what_nobody_foresaw_in_one_trial_is_raised() -> None:
    def execute(folder: int, attempt: int, on_step: Any) -> Ended:
        if folder == 1:
            raise KeyError("unforeseen")
        return Ended()

    driver = Driver()
    with pytest.raises(KeyError, match="unforeseen"):
        run_slot([[0, 0], [1, 0]], execute, driver.take)
    assert [f for told in driver.told for f, _ in told] == [0]
