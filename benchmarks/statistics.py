"""What the pages test with beside `rfprune.results.statistics`, as thin covers of scipy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rfprune.results.statistics import hedges_g, holm

__all__ = ["analysis_of_variance", "compare", "hedges_g", "holm", "line", "spread"]

Array = NDArray[np.float64]
Values = Sequence[float] | Array


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Return mean and standard deviation as text; of one value, that value."""
    found = np.asarray(list(values), dtype=float)
    text = f"{found.mean():.{digits}f}"
    return text if len(found) < 2 else f"{text} ± {found.std(ddof=1):.{digits}f}"


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
