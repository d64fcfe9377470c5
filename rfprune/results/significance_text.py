"""Groups of trials beside each other as tables, sentences and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rfprune.core.tables import Column, make_table
from rfprune.results.significance import Difference, TrialComparison
from rfprune.results.statistics import ALPHA, POWER

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["differences_table", "groups_table", "significance_json", "significance_summary"]


def groups_table(found: TrialComparison, width: int | None = None) -> Table:
    """Return one row per group of trials."""
    names, values = list(found.groups), list(found.groups.values())
    columns = [
        Column(found.by or "sweep", names, left=True, needed=True),
        Column("trials", [str(len(v)) for v in values], needed=True),
        Column(f"mean {found.metric}", [f"{v.mean():.5g}" for v in values], needed=True),
        Column("standard deviation", [f"{v.std(ddof=1):.2g}" for v in values]),
        Column("least", [f"{v.min():.5g}" for v in values]),
        Column("most", [f"{v.max():.5g}" for v in values]),
    ]
    better = "large" if found.direction == "max" else "small"
    caption = f"{better} is good"
    return make_table(columns, width, title="Groups", caption=caption)


def differences_table(found: TrialComparison, width: int | None = None) -> Table:
    """Return one row per comparison; what is significant is marked."""
    rows = found.differences
    test = "paired t-test" if found.paired_by else "Welch's t-test"
    columns = [
        Column("", ["*" if row.significant else "" for row in rows], needed=True),
        Column("first", [row.first for row in rows], left=True, needed=True),
        Column("second", [row.second for row in rows], left=True, needed=True),
        Column("n", [_sizes(row) for row in rows]),
        Column("difference", [f"{row.found.mean:+.4g}" for row in rows], needed=True),
        Column("95 % interval", [_interval(row) for row in rows], needed=True),
        Column("p", [_p(row.found.p) for row in rows]),
        Column("p (Holm)", [_p(row.p_holm) for row in rows], needed=True),
        Column("Hedges' g", [_effect(row) for row in rows]),
        Column("detectable", [f"{row.found.detectable:.3g}" for row in rows]),
        Column("trials needed", [_needed(row) for row in rows]),
    ]
    caption = (
        f"{found.metric} of the first less the second, {test}; *: p (Holm) < {ALPHA:g}; "
        "detectable: the smallest true difference that so many trials show with a power of "
        f"{POWER:g}; trials needed: per group, to show the observed one with that power, were it "
        "true (before Holm)"
    )
    return make_table(columns, width, title="Differences", caption=caption)


def significance_summary(found: TrialComparison) -> list[str]:
    """Return what the tests say, in sentences."""
    lines = []
    for row in found.differences:
        if row.significant:
            better = (row.found.mean > 0) == (found.direction == "max")
            word = "better" if better else "worse"
            lines.append(f"{row.first} is {word} than {row.second} by {abs(row.found.mean):.3g}.")
    if not lines:
        lines.append(
            "No difference is significant; detectable is what so many trials could have shown."
        )
    if found.variance is not None:
        v = found.variance
        kind = "randomised blocks" if found.paired_by else "one-way"
        lines.append(
            f"Analysis of variance ({kind}): F({v.df[0]}, {v.df[1]}) = {v.f:.3g}, p {_p(v.p)}, "
            f"eta squared {v.eta_squared:.2g}."
        )
    if found.paired_by:
        lines.append(f"Pairs: trials of the same {', '.join(found.paired_by)}.")
    return [*lines, *found.notes]


def significance_json(found: TrialComparison) -> dict[str, Any]:
    """Return the object that ``rfprune compare --test METRIC --json`` prints."""
    return {
        "metric": found.metric,
        "direction": found.direction,
        "by": found.by,
        "paired_by": list(found.paired_by),
        "groups": {name: values.tolist() for name, values in found.groups.items()},
        "differences": [
            {
                "first": row.first,
                "second": row.second,
                **asdict(row.found),
                "p_holm": row.p_holm,
                "significant": int(row.significant),
            }
            for row in found.differences
        ],
        "variance": None if found.variance is None else asdict(found.variance),
        "notes": list(found.notes),
    }


def _sizes(row: Difference) -> str:
    n, m = row.found.n
    return str(n) if n == m else f"{n}, {m}"


def _interval(row: Difference) -> str:
    return f"{row.found.low:+.4g} to {row.found.high:+.4g}"


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _effect(row: Difference) -> str:
    if row.found.g is None:
        return "-"
    return f"{row.found.g:.2f} [{row.found.g_low:.2f}, {row.found.g_high:.2f}]"


def _needed(row: Difference) -> str:
    return "over 10,000" if row.found.needed is None else f"{row.found.needed:,}"
