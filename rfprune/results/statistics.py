"""How sure a difference of two groups of trials is: tests, effect sizes, intervals, power.

Imports scipy where it computes, so that reading results stays light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rfprune.core.arrays import FloatArray

__all__ = [
    "ALPHA",
    "POWER",
    "Contrast",
    "Variance",
    "analysis_of_variance",
    "contrast",
    "hedges_g",
    "holm",
]

#: Significance level, and the power for which differences and numbers of trials are told.
ALPHA, POWER = 0.05, 0.8
_MOST_NEEDED = 10_000


@dataclass(frozen=True)
class Contrast:
    """How the values of one group differ from those of another.

    Attributes:
        n: values of each group; equal where they are pairs.
        mean: of the first less that of the second.
        low, high: its 95 % interval, by the test that gave `p`.
        p: two-sided; of the paired t-test, or of Welch's.
        g: Hedges' g with its 95 % interval `g_low` to `g_high`; None if nothing varies.
        detectable: the smallest true difference that so many values of this spread show with a
            power of 0.8 at a level of 0.05; of one comparison, without a correction.
        needed: values per group that show the observed difference with that power, were it the true
            one; None beyond 10,000.
    """

    n: tuple[int, int]
    mean: float
    low: float
    high: float
    p: float
    g: float | None
    g_low: float | None
    g_high: float | None
    detectable: float
    needed: int | None


@dataclass(frozen=True)
class Variance:
    """An analysis of variance over groups.

    Attributes:
        f: ratio of the mean squares.
        df: degrees of freedom, between groups and of what is left.
        p: that groups of one mean have such an F or a larger one.
        eta_squared: the part of the squares that the groups explain, beside what is left.
    """

    f: float
    df: tuple[int, int]
    p: float
    eta_squared: float


def contrast(a: FloatArray, b: FloatArray, paired: bool) -> Contrast:
    """Return how (n,) values differ from (m,) others; ``n == m >= 2`` where they are `paired`.

    Paired: Student's t on the differences. Otherwise Welch's t with the degrees of freedom of
    Satterthwaite.
    """
    from scipy import stats

    mean, (n, m) = float(a.mean() - b.mean()), (len(a), len(b))
    if paired:
        variance, df = float((a - b).var(ddof=1)), n - 1.0
        error = (variance / n) ** 0.5
    else:
        shares = np.array([a.var(ddof=1) / n, b.var(ddof=1) / m])
        variance, error = float(shares.sum()), float(shares.sum()) ** 0.5
        spread = float((shares**2 / np.array([n - 1, m - 1])).sum())
        df = variance**2 / spread if spread else float(n + m - 2)
    g = hedges_g(a, b)
    # Below the rounding of the values themselves nothing varies: then equal is certain, and so is
    # different.
    scale = float(np.abs(np.concatenate([a, b])).max())
    if error <= 1e-12 * scale:
        certain = 1.0 if abs(mean) <= 1e-12 * scale else 0.0
        return Contrast((n, m), mean, mean, mean, certain, *g, detectable=0.0, needed=2)
    p = 2 * float(stats.t.sf(abs(mean) / error, df))
    half = float(stats.t.ppf(1 - ALPHA / 2, df)) * error
    detectable = error * _noncentrality(df)
    needed = _needed(mean, a, b, paired)
    return Contrast((n, m), mean, mean - half, mean + half, p, *g, detectable, needed)


def _noncentrality(df: float) -> float:
    """Return the noncentrality at which a two-sided t-test at `ALPHA` has the power `POWER`."""
    from scipy import optimize, stats

    limit = stats.t.ppf(1 - ALPHA / 2, df)

    def lacking(delta: float) -> float:
        # The far tail underflows to NaN, where it is nothing.
        wrong_way = np.nan_to_num(stats.nct.cdf(-limit, df, delta))
        return float(stats.nct.sf(limit, df, delta) + wrong_way) - POWER

    # The power rises with the noncentrality; from the limit on it is about one half.
    return float(optimize.brentq(lacking, 0.0, 2 * limit + 10.0))


def _needed(mean: float, a: FloatArray, b: FloatArray, paired: bool) -> int | None:
    """Return the values per group that would show the observed difference, bisected."""
    variances = np.array([a.var(ddof=1), b.var(ddof=1)])
    spread = float((a - b).var(ddof=1) if paired else variances.sum())

    def shows(n: int) -> bool:
        # Satterthwaite's degrees of freedom for groups of equal size.
        df = n - 1.0 if paired else spread**2 * (n - 1) / float((variances**2).sum())
        return bool(abs(mean) >= (spread / n) ** 0.5 * _noncentrality(df))

    if not shows(_MOST_NEEDED):
        return None
    low, high = 1, _MOST_NEEDED
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1, and is no smaller than the one before.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    raised = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(value) for value in corrected]


def hedges_g(a: FloatArray, b: FloatArray) -> tuple[float | None, float | None, float | None]:
    """Return g and its 95 % interval, None where nothing varies.

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


def analysis_of_variance(groups: Mapping[str, Any], paired: bool = False) -> Variance | None:
    """Return a one-way analysis over groups of values; None if nothing varies within them.

    Args:
        groups: (n,) values each.
        paired: value k of all groups belongs together: blocks are taken out first (a randomised
            complete block design).
    """
    from scipy import stats

    values = [np.asarray(group, dtype=float) for group in groups.values()]
    everything = np.concatenate(values)
    middle = everything.mean()
    between = sum(len(group) * (group.mean() - middle) ** 2 for group in values)
    within = sum(((group - group.mean()) ** 2).sum() for group in values)
    df = (len(values) - 1, len(everything) - len(values))
    if paired:
        blocks = np.stack(values).mean(axis=0)
        within -= len(values) * ((blocks - middle) ** 2).sum()
        df = (df[0], df[0] * (len(blocks) - 1))
    if within <= 1e-12 * max(float((everything**2).sum()), 1e-300) or df[1] < 1:
        return None
    f = float((between / df[0]) / (within / df[1]))
    return Variance(f, df, float(stats.f.sf(f, *df)), float(between / (between + within)))
