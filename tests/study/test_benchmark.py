"""The benchmark of the search, on its kept table; and that every benchmark fits the product."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest

import benchmarks
from benchmarks.search_quality.lookup import (
    CHANCE,
    HERE,
    LAYERS,
    Lookup,
    curve,
    read_lookup,
    read_task,
    reference,
    search,
)
from benchmarks.search_quality.pricing import Case, Prices, run_case
from rfprune.data import load
from rfprune.spec import EarlyStopSpec
from rfprune.tasks import make_task

#: Run in an environment of its own, with packages that rfprune never needs.
APART = {"benchmarks.widths.hgq2", "benchmarks.search_quality.mo_asha"}
MODULES = {found.name for found in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")}


@pytest.fixture(scope="module")
def digits() -> Lookup:
    return read_lookup("digits")


# Neither the types nor the other tests reach all of them.
@pytest.mark.parametrize("name", sorted(MODULES - APART))
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)


def test_the_reference_point_is_behind_every_dense_network(digits: Lookup) -> None:
    corner = reference("digits", digits)
    assert corner["val_accuracy"] == 1 / LAYERS["digits"]["output"][1]
    for steps in digits.steps.values():
        dense = steps[0].metrics()
        assert (dense["dsp"] or 0) < corner["dsp"]
        assert (dense["latency_cycles"] or 0) < corner["latency_cycles"]


def test_one_answer_for_all_rows_is_the_reference_of_a_regression() -> None:
    spec, _ = read_task("muons")
    task = make_task(spec.task, HERE)
    data = load(spec.data, HERE, task)
    guessed = task.guess(data.y_train, data.y_val, data.n_outputs)
    assert guessed["resolution"] == pytest.approx(CHANCE["muons"], abs=1e-4)
    assert reference("muons", read_lookup("muons"))["val_resolution"] == CHANCE["muons"]


def test_a_search_takes_its_trials_from_the_table(digits: Lookup) -> None:
    found = search("digits", digits, "random", 0, 5)
    again = search("digits", digits, "random", 0, 5)
    assert found == again
    assert len(found.accepted) == 5
    kept = {
        (step.values["val_accuracy"], step.values["dsp"], step.values["latency_cycles"])
        for steps in digits.steps.values()
        for step in steps
        if step.accepted
    }
    of_search = {
        (step["val_accuracy"], step["dsp"], step["latency_cycles"])
        for steps in found.accepted
        for step in steps
    }
    assert of_search <= kept
    volumes = curve("digits", found.accepted, digits)
    assert (np.diff(volumes) >= 0).all()
    assert 0 < volumes[0] <= volumes[-1] <= 1


def test_an_early_stop_saves_steps_and_says_so(digits: Lookup) -> None:
    whole = search("digits", digits, "random", 0, 12)
    short = search("digits", digits, "random", 0, 12, EarlyStopSpec(margin=0.0))
    assert whole.n_stopped == 0
    assert short.n_stopped > 0
    assert short.n_steps < whole.n_steps


def test_a_step_is_paid_once_also_by_a_trial_that_pauses(digits: Lookup) -> None:
    tables = {"digits": digits, "digits_walk": read_lookup("digits_walk")}
    prices = Prices("digits", tables, dict.fromkeys(tables, 1.0))
    rule = {"first_step": 1, "factor": 2, "promote": True}
    for case in (
        Case("", False, "random"),
        Case("", True, "random"),
        Case("", False, "random", rule),
    ):
        run = run_case(prices, case, 0, 8)
        volumes = run.volumes
        assert (np.diff(volumes) >= 0).all()
        assert (np.diff(run.steps) > 0).all()
        assert (np.diff(run.draws) > 0).all()
        assert (run.spent(2.0) == 2.0 * run.steps + run.draws).all()
        if case.early_stop is None:
            assert len(volumes) == 8
        else:
            # Every part of a trial that paused is counted by itself.
            assert len(volumes) > 8
