"""Fits the constants of the analytic estimator.

``python -m benchmarks.estimates.fit [--data DIR] [--check]`` writes
``rfprune/fpga/estimators/constants.json``. Every rule is fitted with non-negative constants to the
relative error, robustly (soft L1), and cross-validated by leaving out one group (shape or project)
at a time; both errors are printed and kept in the file. ``--check`` prints them and writes nothing.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from benchmarks.estimates.baselines import read_baselines
from benchmarks.estimates.reports import Reported, read_designs, read_layers
from rfprune.fpga.estimators.constants import CONSTANTS_FILE, constants, rule_constants
from rfprune.fpga.estimators.glue import around
from rfprune.fpga.estimators.layer_columns import kinds, read_columns
from rfprune.fpga.estimators.terms import RULES, facts

F = NDArray[np.float64]
_DENSE = {"layer_type": "dense", "io_type": "io_parallel"}
DEFAULT_DATA = Path(os.environ.get("RFPRUNE_DATA", "../shared/data"))


def read_all(data: Path, more: bool = True) -> list[Reported]:
    """Return whole designs, modules of projects and hls4ml's baselines below `data`.

    Args:
        data: holds the folders ``hls_reports``, ``hls_reports_more`` and ``hls4ml_baselines``.
        more: the designs that were added later, too.
    """
    reports = read_designs(data / "hls_reports" / "designs.parquet")
    reports += read_layers(data / "hls_reports" / "layers.parquet")
    reports += read_baselines(data / "hls4ml_baselines" / "baselines.csv")
    return reports + (read_designs(data / "hls_reports_more" / "designs.parquet") if more else [])


def _resource(report: Reported) -> bool:
    modules = (_kernel("dense_resource", **_DENSE), _kernel("dense_wrapper", strategy="resource"))
    return _dense1(report, "resource") or any(chosen(report) for chosen in modules)


def _latency(report: Reported) -> bool:
    return _dense1(report, "latency") or _kernel("dense_latency", **_DENSE)(report)


def _dense1(report: Reported, strategy: str) -> bool:
    """Whether it is a generated design of dense layers alone, all of one strategy."""
    assert report.design is not None
    return report.source == "wahls4ml_dense1_2020" and all(
        layer.type == "dense"
        and layer.strategy == strategy
        and (strategy == "latency" or layer.reuse_factor > 1)
        for layer in report.design.layers
    )


def _synthesised(report: Reported) -> bool:
    whole = "design_id" in report.row and "synthesis_lut" in report.targets
    assert report.design is not None
    # Saturating sums have a rule of their own.
    whole &= all("SAT" not in str(layer.accum_precision) for layer in report.design.layers)
    return whole and report.strategy == "resource"


def _kernel(*kernels: str, **asked: str) -> Callable[[Reported], bool]:
    """Return what chooses modules of committed projects by their kernel and other columns."""

    def chosen(report: Reported) -> bool:
        others = all(report.row.get(name) == value for name, value in asked.items())
        return report.row.get("kernel") in kernels and others

    return chosen


@dataclass(frozen=True)
class Fit:
    """One rule: which target of which reports that have a design, and the least that counts."""

    rule: str
    target: str
    chosen: Callable[[Reported], bool]
    source: str
    floor: float = 100.0


_DENSE1 = "wahls4ml_dense1_2020 and module reports of committed projects"
_DENSE2 = "wahls4ml_dense2_2023 and three projects, after logic synthesis"
_MODULES = "module reports of committed projects"
_TESTED = "module reports of committed projects and hls4ml's tests"
_POOLS = ("pooling2d_cl", "pooling1d_cl", "global_pooling1d_cl")


def _pool(report: Reported) -> bool:
    """Whether it is a module of pooling without stages, which have a rule of their own.

    Those of hls4ml's tests that have stages divide by a variable.
    """
    design = report.design
    assert design is not None
    tested = "_pooling_" in str(report.row.get("test")) or _kernel(*_POOLS)(report)
    return tested and (design.io_type == "io_stream" or report.targets["latency_cycles"] == 0)


FITS = (
    Fit("resource_lut", "hls_lut", _resource, _DENSE1),
    Fit("resource_ff", "hls_ff", _resource, _DENSE1),
    Fit("resource_lut_synthesis", "synthesis_lut", _synthesised, _DENSE2),
    Fit("resource_ff_synthesis", "synthesis_ff", _synthesised, _DENSE2),
    Fit("latency_lut", "hls_lut", _latency, _DENSE1, 300.0),
    Fit("latency_ff", "hls_ff", _latency, _DENSE1),
    Fit("pool_lut", "hls_lut", _pool, _TESTED),
    Fit("pool_ff", "hls_ff", _pool, _TESTED),
    Fit("softmax_lut", "hls_lut", _kernel("softmax_stable"), _MODULES),
    Fit("softmax_ff", "hls_ff", _kernel("softmax_stable"), _MODULES),
)


def _group(report: Reported) -> str:
    if report.source.startswith("wahls4ml"):
        return f"{report.source}:{report.row.get('group')}"
    return str(report.row.get("repo"))


def solve(terms: F, target: F) -> F:
    """Return the non-negative constants with the least robust log error, (n_terms,)."""
    scaled = terms / target[:, None]
    active = terms.any(axis=0)
    scale = np.where(active, 1.0 / np.maximum(np.quantile(scaled, 0.9, axis=0), 1e-3), 1.0)

    def error(root: F) -> F:
        return np.log(np.maximum(terms @ (root * root * scale), 1e-9) / target)

    start = np.maximum(nnls(scaled, np.ones(len(target)))[0], 1e-3 * scale)
    starts = [np.sqrt(start / scale), np.full(len(scale), 0.5), np.full(len(scale), 0.05)]
    fits = [least_squares(error, first, loss="soft_l1", f_scale=0.05) for first in starts]
    found = min(fits, key=lambda fit: float(fit.cost)).x
    return np.where(active, found * found * scale, 0.0)


def _design_matrix(fit: Fit, reports: list[Reported]) -> tuple[F, F, NDArray[Any], tuple[str, ...]]:
    readable = [r for r in reports if r.design is not None and fit.chosen(r)]
    rows = [r for r in readable if r.targets.get(fit.target, 0) >= fit.floor]
    columns = read_columns([r.design for r in rows if r.design is not None])
    terms = RULES[fit.rule](columns, facts(columns))
    counted = kinds(columns).memory if fit.rule.startswith("resource") else 1.0
    summed = [np.add.reduceat(term * counted, columns.starts) for term in terms.values()]
    target = np.array([r.targets[fit.target] for r in rows])
    if fit.target.startswith("synthesis"):
        # What a design costs beside its multipliers is not what the rule is about.
        costs = getattr(around(columns, facts(columns), kinds(columns)), fit.target)
        target = target - np.add.reduceat(costs, columns.starts)
    return np.column_stack(summed), target, np.array([_group(r) for r in rows]), tuple(terms)


@contextmanager
def using(table: Mapping[str, Any]) -> Iterator[None]:
    """Estimate with the rules of `table` in place of the fitted ones, e.g. without one source."""
    fitted = constants()
    before = {name: fitted[name] for name in table}
    fitted.update(table)
    rule_constants.cache_clear()
    try:
        yield
    finally:
        fitted.update(before)
        rule_constants.cache_clear()


#: Fewest sources on which a rule is fitted anew when one is left out.
_FEWEST_SOURCES = 3


def constants_without(rest: list[Reported], left_out: list[Reported]) -> dict[str, Any]:
    """Return the rules that had rows of `left_out`, fitted on `rest` alone.

    A rule of which fewer than three sources remain stays as it is, and so does a term that no other
    source has: what would be judged then is a rule that nobody uses.
    """
    table = {}
    for fit in FITS:
        readable = [r for r in left_out if r.design is not None]
        if not any(fit.chosen(r) and r.targets.get(fit.target, 0) >= fit.floor for r in readable):
            continue
        chosen = [r for r in rest if fit.chosen(r) and r.targets.get(fit.target, 0) >= fit.floor]
        if len({r.source for r in chosen}) < _FEWEST_SOURCES:
            continue
        terms, target, _, names = _design_matrix(fit, rest)
        found, before = solve(terms, target), constants()[fit.rule]["terms"]
        used = [bool(column.any()) for column in terms.T]
        table[fit.rule] = {
            "terms": {
                name: float(value) if some else before[name]
                for name, value, some in zip(names, found, used, strict=True)
            }
        }
    return table


def fit_rule(fit: Fit, reports: list[Reported]) -> dict[str, Any]:
    """Return the fitted constants of one rule and its errors, in-sample and left-out."""
    terms, target, groups, names = _design_matrix(fit, reports)
    constants = solve(terms, target)
    inside = np.abs(terms @ constants / target - 1)
    outside = np.empty(len(target))
    for group in np.unique(groups):
        held = groups == group
        outside[held] = np.abs(terms[held] @ solve(terms[~held], target[~held]) / target[held] - 1)
    fitted = zip(names, constants, strict=True)
    return {
        "terms": {name: float(f"{value:.5g}") for name, value in fitted},
        "source": fit.source,
        "rows": len(target),
        "groups": len(np.unique(groups)),
        "median_error": round(float(np.median(inside)), 4),
        "mean_error": round(float(inside.mean()), 4),
        "left_out_median_error": round(float(np.median(outside)), 4),
        "left_out_mean_error": round(float(outside.mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="of the reports")
    parser.add_argument("--check", action="store_true", help="print errors, write nothing")
    given = parser.parse_args()
    reports = read_all(given.data)
    table = {fit.rule: fit_rule(fit, reports) for fit in FITS}
    for name, row in table.items():
        errors = {key: value for key, value in row.items() if key not in ("terms", "source")}
        print(name, row["terms"], errors, sep="\n  ")
    if not given.check:
        CONSTANTS_FILE.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
