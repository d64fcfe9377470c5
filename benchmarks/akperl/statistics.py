"""What the AKPERL study tests with: Welch, paired t, Hedges g, analysis of variance, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "Line", "analysis_of_variance", "compare", "line"]

Values = Sequence[float] | NDArray[np.float64]
_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Two methods under one condition, by the same seeds.

    Attributes:
        n: seeds.
        mean: of the first less the second.
        low, high: 95 % interval of the mean (Welch).
        p_welch: two-sided, unequal variances.
        p_paired: two-sided, over the differences by seed: a seed's dense network is the same.
        g: Hedges' g, the difference in pooled standard deviations; None if nothing varies.
        g_low, g_high: its 95 % interval.
    """

    n: int
    mean: float
    low: float
    high: float
    p_welch: float
    p_paired: float
    g: float | None
    g_low: float | None
    g_high: float | None


def compare(ours: Values, theirs: Values) -> Difference:
    """Return how (n,) values of one method differ from those of another, by the same n seeds."""
    from scipy import stats

    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    assert len(a) == len(b) >= 2
    mean = float(a.mean() - b.mean())
    same, paired_same = _constant(a) and _constant(b), _constant(a - b)
    if same:
        p_welch, low, high = 1.0 if mean == 0 else 0.0, mean, mean
    else:
        found = stats.ttest_ind(a, b, equal_var=False)
        interval = found.confidence_interval(_LEVEL)
        p_welch, low, high = float(found.pvalue), float(interval.low), float(interval.high)
    p_paired = (0.0 if mean else 1.0) if paired_same else float(stats.ttest_rel(a, b).pvalue)
    return Difference(len(a), mean, low, high, p_welch, p_paired, *hedges_g(a, b))


def hedges_g(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float | None, ...]:
    """Return g and its 95 % interval.

    ``g = J d``, ``d = (mean a - mean b) / s_pooled``, ``J = 1 - 3 / (4 (n_a + n_b) - 9)``, and the
    large-sample variance of g (Hedges and Olkin 1985, *Statistical Methods for Meta-Analysis*,
    chapter 5).
    """
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    if pooled <= 0:
        return None, None, None
    g = (1 - 3 / (4 * (n + m) - 9)) * float(a.mean() - b.mean()) / pooled**0.5
    half = 1.959964 * ((n + m) / (n * m) + g**2 / (2 * (n + m))) ** 0.5
    return float(g), float(g - half), float(g + half)


def _constant(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) == 0)


def analysis_of_variance(groups: Mapping[str, Values]) -> dict[str, Any]:
    """Return F, degrees of freedom, p and eta squared of a one-way analysis over groups."""
    from scipy.stats import f_oneway

    values = [np.asarray(group, dtype=float) for group in groups.values()]
    every = np.concatenate(values)
    between = sum(len(v) * (v.mean() - every.mean()) ** 2 for v in values)
    whole = float(((every - every.mean()) ** 2).sum())
    found = f_oneway(*values)
    return {
        "F": float(found.statistic),
        "df": (len(values) - 1, len(every) - len(values)),
        "p": float(found.pvalue),
        "eta_squared": float(between / whole),
    }


@dataclass(frozen=True)
class Line:
    """A straight line through points, by least squares.

    Attributes:
        n: points.
        slope: with its 95 % interval.
        p: of a slope of 0, two-sided.
        r_squared: share of the variance that the line explains.
    """

    n: int
    slope: float
    low: float
    high: float
    p: float
    r_squared: float


def line(x: Values, y: Values) -> Line:
    """Return the regression of `y` on `x`, (n,) each."""
    from scipy import stats

    found = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + _LEVEL) / 2, len(x) - 2)) * float(found.stderr)
    slope = float(found.slope)
    return Line(
        len(x), slope, slope - half, slope + half, float(found.pvalue), float(found.rvalue) ** 2
    )
