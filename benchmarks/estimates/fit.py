"""Fits the constants of the analytic estimator.

``python -m benchmarks.estimates.fit [--data DIR] [--check]`` writes
``rfprune/estimate/constants.json``. Every rule is fitted with non-negative constants to the
relative error, robustly (soft L1), and cross-validated by leaving out one group (shape or project)
at a time; both errors are printed and kept in the file. ``--check`` prints them and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimates.reports import Reported, read_designs, read_layers
from rfprune.estimate.constants import CONSTANTS_FILE
from rfprune.estimate.glue import around
from rfprune.estimate.layers import Columns, kinds, read_columns
from rfprune.estimate.terms import RULES, facts

F = NDArray[np.float64]
DEFAULT_DATA = Path(os.environ.get("RFPRUNE_DATA", "../shared/data")) / "hls_reports"


@dataclass(frozen=True)
class Fit:
    """One rule: which reports, which target, and how rows are weighted."""

    rule: str
    target: str
    chosen: Callable[[Reported], bool]
    source: str
    floor: float = 100.0


def _is_dense(report: Reported, strategy: str, source: str | None = None) -> bool:
    design = report.design
    if design is None or (source is not None and report.source != source):
        return False
    main = [layer for layer in design.layers if layer.type == "dense"]
    return (
        len(main) == len(design.layers)
        and all(layer.strategy == strategy for layer in main)
        and (strategy == "latency" or all(layer.reuse_factor > 1 for layer in main))
    )


def _dense_kernel(report: Reported, kernel: str) -> bool:
    row = report.row
    return (
        report.design is not None
        and row.get("kernel") == kernel
        and (row.get("layer_type") == "dense" and row.get("io_type") == "io_parallel")
    )


def _resource(report: Reported) -> bool:
    wrapper = (
        report.row.get("kernel") == "dense_wrapper" and report.row.get("strategy") == "resource"
    )
    return (
        _is_dense(report, "resource", "wahls4ml_dense1_2020")
        or _dense_kernel(report, "dense_resource")
        or (wrapper and report.design is not None)
    )


def _synthesised(report: Reported) -> bool:
    return (
        report.strategy == "resource"
        and "design_id" in report.row
        and ("synthesis_lut" in report.targets)
    )


def _latency(report: Reported) -> bool:
    return _is_dense(report, "latency", "wahls4ml_dense1_2020") or _dense_kernel(
        report, "dense_latency"
    )


def _relu(report: Reported) -> bool:
    row = report.row
    return (
        report.design is not None
        and row.get("kernel") == "relu"
        and (row.get("io_type") == "io_parallel")
    )


def _pool(report: Reported) -> bool:
    kernels = ("pooling2d_cl", "pooling1d_cl", "global_pooling1d_cl")
    return report.design is not None and report.row.get("kernel") in kernels


def _softmax(report: Reported) -> bool:
    return report.design is not None and report.row.get("kernel") == "softmax_stable"


_DENSE1 = "wahls4ml_dense1_2020 and module reports of committed projects"
_DENSE2 = "wahls4ml_dense2_2023 and three projects, after logic synthesis"
FITS = (
    Fit("resource_lut", "hls_lut", _resource, _DENSE1),
    Fit("resource_ff", "hls_ff", _resource, _DENSE1),
    Fit(
        "resource_lut_synthesis",
        "synthesis_lut",
        _synthesised,
        _DENSE2,
    ),
    Fit(
        "resource_ff_synthesis",
        "synthesis_ff",
        _synthesised,
        _DENSE2,
    ),
    Fit("latency_lut", "hls_lut", _latency, _DENSE1, 300.0),
    Fit("latency_ff", "hls_ff", _latency, _DENSE1, 100.0),
    Fit("relu_lut", "hls_lut", _relu, "module reports of committed projects"),
    Fit("pool_lut", "hls_lut", _pool, "module reports of committed projects"),
    Fit("pool_ff", "hls_ff", _pool, "module reports of committed projects"),
    Fit("softmax_lut", "hls_lut", _softmax, "module reports of committed projects"),
    Fit("softmax_ff", "hls_ff", _softmax, "module reports of committed projects"),
)


def _group(report: Reported) -> str:
    if report.source.startswith("wahls4ml"):
        return f"{report.source}:{report.row.get('group')}"
    return str(report.row.get("repo"))


def solve(terms: F, target: F) -> F:
    """Return the non-negative constants with the least robust log error, (n_terms,)."""
    from scipy.optimize import least_squares, nnls

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


def _beside(columns: Columns, target: str) -> F:
    """Return what a design costs beside its multipliers after logic synthesis, (n_designs,)."""
    costs = getattr(around(columns, facts(columns), kinds(columns)), target)
    return np.add.reduceat(costs, columns.starts)


def _design_matrix(fit: Fit, reports: list[Reported]) -> tuple[F, F, NDArray[Any], tuple[str, ...]]:
    rows = [r for r in reports if fit.chosen(r) and r.targets.get(fit.target, 0) >= fit.floor]
    columns = read_columns([r.design for r in rows if r.design is not None])
    terms = RULES[fit.rule](columns, facts(columns))
    counted = kinds(columns).memory if fit.rule.startswith("resource") else 1.0
    summed = [np.add.reduceat(term * counted, columns.starts) for term in terms.values()]
    target = np.array([r.targets[fit.target] for r in rows])
    if fit.target.startswith("synthesis"):
        target = target - _beside(columns, fit.target)
    return np.column_stack(summed), target, np.array([_group(r) for r in rows]), tuple(terms)


def fit_rule(fit: Fit, reports: list[Reported]) -> dict[str, Any]:
    """Return the fitted constants of one rule and its errors, in-sample and left-out."""
    terms, target, groups, names = _design_matrix(fit, reports)
    constants = solve(terms, target)
    inside = np.abs(terms @ constants / target - 1)
    outside = np.empty(len(target))
    for group in np.unique(groups):
        held = groups == group
        outside[held] = np.abs(terms[held] @ solve(terms[~held], target[~held]) / target[held] - 1)
    return {
        "terms": {
            name: float(f"{value:.5g}") for name, value in zip(names, constants, strict=True)
        },
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
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="folder of the parquet files"
    )
    parser.add_argument("--check", action="store_true", help="print errors, write nothing")
    arguments = parser.parse_args()
    reports = [
        *read_designs(arguments.data / "designs.parquet"),
        *read_layers(arguments.data / "layers.parquet"),
    ]
    table = {fit.rule: fit_rule(fit, reports) for fit in FITS}
    for name, row in table.items():
        errors = {key: value for key, value in row.items() if key not in ("terms", "source")}
        print(name, row["terms"], errors, sep="\n  ")
    if not arguments.check:
        CONSTANTS_FILE.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
