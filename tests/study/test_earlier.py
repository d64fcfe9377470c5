"""Whether earlier sweeps guide: which of their points are tried, and when they are not believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from rfprune.results import SweepFolder
from rfprune.results.hypervolume import hypervolume
from rfprune.results.points import losses
from rfprune.study.earlier import Earlier, Point, _rank_correlation
from rfprune.study.expand import expand
from rfprune.study.record import Record
from rfprune.study.study import lock, open_study
from rfprune.study.trials import EARLIER
from rfprune.study.warm_start import EarlierTrial
from tests.study.conftest import LAYERS, RF, Inline, SpecMaker

GOALS = {"val_accuracy": "max", "dsp": "min"}


def at(x: int) -> Point:
    return (("x", x),)


def front_of(n: int) -> Earlier:
    """Return n points of a front, more accurate the more they cost."""
    earlier = Earlier(GOALS)
    for x in range(n):
        add(earlier, x, [(0.5 + 0.01 * x, 10.0 * x)])
    return earlier


def add(earlier: Earlier, x: int, steps: list[tuple[float, float]]) -> None:
    """Add a trial by its feasible steps; the last one has been told."""
    named = [dict(zip(GOALS, step, strict=True)) for step in steps]
    earlier.add(at(x), steps[-1], losses(named, GOALS))


def test_points_that_are_tried_first_add_most_to_those_before_them() -> None:
    earlier = Earlier(GOALS)
    add(earlier, 0, [(0.9, 100.0)])
    add(earlier, 1, [(0.8, 10.0)])
    # Its first step alone is on the front, and its last is what was told.
    add(earlier, 2, [(0.95, 90.0), (0.5, 50.0)])
    earlier.add(at(3), [0.99, 0.0], np.empty((0, 2)))
    reference = np.array([0.0, 200.0])
    # 0.8 * 190 first, then 0.15 * 110; nothing that is behind these two, and nothing infeasible.
    assert [point["x"] for point in earlier.best(reference)] == [1, 2]
    assert [point["x"] for point in earlier.best()] == [1, 2]
    assert Earlier(GOALS).best() == []


def test_points_that_add_hardly_anything_are_not_tried() -> None:
    assert len(front_of(3).best()) == 3
    tried = [point["x"] for point in front_of(100).best()]
    assert len(tried) == len(set(tried)) == 20
    earlier = front_of(3)
    add(earlier, 4, [(0.5 + 1e-7, 0.0)])
    assert len(earlier.best()) == 3


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_every_comparison(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = {x: rng.random((4, 2)) for x in range(12)}
    earlier = Earlier({"a": "min", "b": "min"})
    for x, curve in curves.items():
        earlier.add(at(x), curve[-1].tolist(), curve)
    front, reference = np.empty((0, 2)), np.ones(2)
    for point in earlier.best(reference):
        volumes = {x: hypervolume(np.vstack([front, c]), reference) for x, c in curves.items()}
        assert volumes[int(point["x"])] == pytest.approx(max(volumes.values()))
        front = np.vstack([front, curves[int(point["x"])]])


@pytest.mark.parametrize(("order", "misleads"), [(1, False), (-1, True)])
def test_another_order_is_not_believed(order: int, misleads: bool) -> None:
    earlier = front_of(10)
    for x in range(4):
        earlier.compare(at(x), [0.5 + 0.01 * x * order, 10.0 * x * order])
    assert not earlier.misleads
    earlier.compare(at(99), [0.0, 0.0])
    assert not earlier.misleads
    earlier.compare(at(4), [0.5 + 0.04 * order, 40.0 * order])
    assert earlier.misleads == misleads


def test_ranks_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, (2, 12)).astype(float)
        assert _rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert _rank_correlation(np.ones(4), np.arange(4.0)) == 0.0


def trials(sign: float) -> list[EarlierTrial]:
    """Return earlier trials whose results are those of the quick trials, or turned round."""
    return [
        EarlierTrial(
            f"old/{n}",
            {RF(layer): reuse for layer in LAYERS},
            [{"val_accuracy": 0.9 - 0.05 * n * sign, "dsp": 1000.0 / 2 ** (n * sign), "step": 1.0}],
        )
        for n, reuse in enumerate((1, 2, 4, 8, 16, 32))
    ]


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["guides", "misleads"])
def test_a_record_tries_their_points_and_forgets_what_misleads(
    tmp_path: Path, make_spec: SpecMaker, sign: float
) -> None:
    spec = make_spec(trials=9, sampler={"name": "tpe"})
    folder = SweepFolder(tmp_path / spec.name)
    inline = object.__new__(Inline)
    with lock(folder):
        study = open_study(spec, folder, LAYERS)
        told = trials(sign)
        record = Record(spec, folder, expand(spec, LAYERS), study, earlier=told)
        inline.spec, inline.folder, inline.study, inline.record = spec, folder, study, record
        from rfprune.execution.worker import WorkerContext
        from tests.study.conftest import FUNCTION, HERE

        inline.context = WorkerContext(folder.path, HERE, FUNCTION)
        folder.write_spec(spec, {})
        inline.run()
    own = [t for t in study.get_trials(deepcopy=False) if EARLIER not in t.user_attrs]
    first = [trial.user_attrs["values"] for trial in own[:5]]
    assert all(point in [t.values for t in told] for point in first)
    from optuna.trial import TrialState

    seen = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    assert len(seen) == (15 if sign > 0 else 9)
    assert record.counts.complete == 9
    again = Record(spec, folder, expand(spec, LAYERS), study)
    assert again._misled == (sign < 0)
