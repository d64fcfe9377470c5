"""What the pages test with, as thin covers of scipy and statsmodels: pairs, effects, lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

Array = NDArray[np.float64]
Values = Sequence[float] | Array


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Return mean and standard deviation as text; of one value, that value."""
    found = np.asarray(list(values), dtype=float)
    text = f"{found.mean():.{digits}f}"
    return text if len(found) < 2 else f"{text} ± {found.std(ddof=1):.{digits}f}"


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order."""
    return [float(one) for one in multipletests(p, method="holm")[1]]


def compare(ours: Values, theirs: Values) -> dict[str, Any]:
    """Return how (n,) values of one method differ from those of another, by the same n seeds.

    ``mean`` of the first less the second with its 95 % interval ``low``, ``high`` (Welch);
    ``p_welch``, two-sided, unequal variances; ``p_paired``, over the differences by seed, since a
    seed's dense network is the same; ``g`` with ``g_low`` and ``g_high``, None if nothing varies.
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    assert len(a) == len(b) >= 2
    mean = float(a.mean() - b.mean())
    # What does not vary has no t; then equal is certain, and so is different.
    certain = 0.0 if mean else 1.0
    found = {"n": len(a), "mean": mean, "low": mean, "high": mean}
    found |= {"p_welch": certain, "p_paired": certain}
    if np.ptp(a) or np.ptp(b):
        welch = stats.ttest_ind(a, b, equal_var=False)
        low, high = welch.confidence_interval()
        found |= {"low": float(low), "high": float(high), "p_welch": float(welch.pvalue)}
    if np.ptp(a - b):
        found["p_paired"] = float(stats.ttest_rel(a, b).pvalue)
    return found | dict(zip(("g", "g_low", "g_high"), hedges_g(a, b), strict=True))


def hedges_g(a: Array, b: Array) -> tuple[float | None, ...]:
    """Return g and its 95 % interval.

    ``g = J d``, ``d = (mean a - mean b) / s_pooled``, ``J = 1 - 3 / (4 (n_a + n_b) - 9)``, and the
    large-sample variance of g (Hedges and Olkin 1985, *Statistical Methods for Meta-Analysis*,
    chapter 5). statsmodels has another variance, with wider intervals for few seeds.
    """
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    if pooled <= 0:
        return None, None, None
    g = (1 - 3 / (4 * (n + m) - 9)) * float(a.mean() - b.mean()) / pooled**0.5
    half = 1.959964 * ((n + m) / (n * m) + g**2 / (2 * (n + m))) ** 0.5
    return float(g), float(g - half), float(g + half)


def analysis_of_variance(groups: Mapping[str, Values]) -> dict[str, Any]:
    """Return F, degrees of freedom, p and eta squared of a one-way analysis over groups."""
    found = stats.f_oneway(*groups.values())
    between, within = len(groups) - 1, sum(map(len, groups.values())) - len(groups)
    share = between * float(found.statistic)
    return {
        "F": float(found.statistic),
        "df": (between, within),
        "p": float(found.pvalue),
        # SS_between / SS_total, from F = (SS_between / between) / (SS_within / within).
        "eta_squared": share / (share + within),
    }


def line(x: Values, y: Values) -> dict[str, float]:
    """Return slope, its 95 % interval, p and R² of the regression of `y` on `x`, (n,) each."""
    found = stats.linregress(x, y)
    half = float(stats.t.ppf(0.975, len(x) - 2) * found.stderr)
    slope = float(found.slope)
    return {
        "slope": slope,
        "low": slope - half,
        "high": slope + half,
        "p": float(found.pvalue),
        "r_squared": float(found.rvalue) ** 2,
    }
