"""Whether earlier sweeps guide: which of their points are tried, and when they are not believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from rfprune.results import SweepFolder
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
        earlier.add(at(x), [0.5 + 0.01 * x, 10.0 * x], feasible=True)
    return earlier


def test_points_that_are_tried_first_span_the_feasible_front() -> None:
    earlier = front_of(41)
    earlier.add(at(100), [0.4, 500.0], feasible=True)
    earlier.add(at(101), [0.99, 0.0], feasible=False)
    tried = [point["x"] for point in earlier.best()]
    assert tried[:3] == [40, 0, 20]
    assert len(tried) == len(set(tried)) == 10
    assert Earlier(GOALS).best() == []
    assert len(front_of(3).best()) == 3


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
