"""Tests, effects and power beside statsmodels."""

from __future__ import annotations

import numpy as np
import pytest

from rfprune.results.statistics import analysis_of_variance, contrast, holm

ttest = pytest.importorskip(
    "statsmodels.stats.power", reason="the package statsmodels is not installed"
)


def drawn(seed: int, n: int = 8, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return shift + scale * np.random.default_rng(seed).standard_normal(n)


def test_welch_is_that_of_statsmodels_also_for_groups_of_unlike_size() -> None:
    from statsmodels.stats.weightstats import CompareMeans

    a, b = drawn(0, 5, shift=1.0), drawn(1, 9, scale=3.0)
    found, theirs = contrast(a, b, paired=False), CompareMeans.from_data(a, b)
    assert found.p == pytest.approx(theirs.ttest_ind(usevar="unequal")[1])
    assert (found.low, found.high) == pytest.approx(theirs.tconfint_diff(usevar="unequal"))


def test_pairs_are_tested_by_their_differences() -> None:
    from statsmodels.stats.weightstats import DescrStatsW

    a = drawn(0)
    b = a + drawn(1, scale=0.1) - 0.2
    found, theirs = contrast(a, b, paired=True), DescrStatsW(a - b)
    assert found.p == pytest.approx(theirs.ttest_mean(0)[1])
    assert (found.low, found.high) == pytest.approx(theirs.tconfint_mean())
    assert found.p < contrast(a, b, paired=False).p


def test_what_can_be_seen_is_what_statsmodels_says() -> None:
    a, b = drawn(0), drawn(1)
    spread = (a - b).std(ddof=1)
    effect = ttest.TTestPower().solve_power(nobs=len(a), alpha=0.05, power=0.8)
    paired = contrast(a, b, paired=True)
    assert paired.detectable / spread == pytest.approx(effect, rel=1e-3)
    least = ttest.TTestPower().solve_power(
        effect_size=abs((a - b).mean()) / spread, alpha=0.05, power=0.8
    )
    assert paired.needed == int(np.ceil(least))


def test_of_equal_variances_the_number_is_that_of_the_pooled_test() -> None:
    a = drawn(0)
    b = a[::-1] + 0.7
    effect = 0.7 / a.std(ddof=1)
    least = ttest.TTestIndPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    assert contrast(b, a, paired=False).needed == int(np.ceil(least))


def test_what_does_not_vary_is_certain() -> None:
    same, other = np.full(4, 0.1 + 0.2), np.full(4, 0.3)
    assert contrast(same, other, paired=True).p == 1
    apart = contrast(same, other + 1, paired=False)
    assert (apart.p, apart.g, apart.needed) == (0, None, 2)


def test_no_difference_needs_no_number() -> None:
    a = drawn(0)
    assert contrast(a, a[::-1].copy(), paired=False).needed is None


def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.04, 0.001, 0.03, 0.5, 0.0101, 0.03]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([]) == []


def test_variance_of_groups_and_of_blocks_is_that_of_linear_models() -> None:
    pandas = pytest.importorskip("pandas", reason="the package pandas is not installed")
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    groups = {"a": drawn(0), "b": drawn(1, shift=0.5), "c": drawn(2, shift=1.5)}
    rows = [(g, i, v) for g, values in groups.items() for i, v in enumerate(values)]
    frame = pandas.DataFrame(rows, columns=["group", "block", "value"])
    for paired, formula in ((False, "value ~ group"), (True, "value ~ group + C(block)")):
        found, theirs = analysis_of_variance(groups, paired), anova_lm(ols(formula, frame).fit())
        assert found is not None
        assert found.f == pytest.approx(theirs.loc["group", "F"])
        assert found.p == pytest.approx(theirs.loc["group", "PR(>F)"])
        assert found.df == (2, theirs.loc["Residual", "df"])
    assert analysis_of_variance({"a": [1.0, 1.0], "b": [2.0, 2.0]}) is None
