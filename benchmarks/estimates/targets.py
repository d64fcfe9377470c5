"""The table of targets: what is asked of the estimator, and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimates.reports import Reported
from rfprune.estimate.design import Design, LayerDesign

__all__ = ["Pair", "target_rows"]

F = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """One quantity of one report: predicted and reported."""

    report: Reported
    quantity: str
    predicted: float
    truth: float


def _layers(pair: Pair) -> tuple[Design, tuple[LayerDesign, ...]]:
    design = pair.report.design
    assert design is not None
    return design, design.layers


def _all_dense(pair: Pair, strategy: str) -> bool:
    _, layers = _layers(pair)
    return all(layer.type == "dense" and layer.strategy == strategy for layer in layers)


def _resource(pair: Pair) -> bool:
    return _all_dense(pair, "resource") and all(x.reuse_factor > 1 for x in _layers(pair)[1])


def _bits(pair: Pair, name: str) -> int:
    design, layers = _layers(pair)
    return min(design.width(getattr(layer, name)) for layer in layers)


def _rf(pair: Pair) -> int:
    return max(layer.reuse_factor for layer in _layers(pair)[1])


def _latency_kernel(pair: Pair) -> bool:
    kernel = pair.report.row.get("kernel")
    known = all(layer.weights is not None for layer in _layers(pair)[1])
    return known and _all_dense(pair, "latency") and kernel in (None, "dense_latency")


def _project(pair: Pair) -> bool:
    return pair.report.source.startswith("project:")


def _exact(p: F, y: F) -> float:
    return 100 * float((np.round(p) == y).mean())


def _within(bound: float) -> Callable[[F, F], float]:
    return lambda p, y: 100 * float((np.abs(np.round(p) - y) <= bound).mean())


def _ape(p: F, y: F) -> F:
    return 100 * np.abs(p - y)[y > 0] / y[y > 0]


def _median(p: F, y: F) -> float | None:
    return float(np.median(_ape(p, y))) if (y > 0).any() else None


def _mean(p: F, y: F) -> float | None:
    return float(_ape(p, y).mean()) if (y > 0).any() else None


def _smape(p: F, y: F) -> float:
    size = np.maximum(np.abs(p) + np.abs(y), 1e-9)
    return float((200 * np.abs(p - y) / size).mean())


@dataclass(frozen=True)
class _Target:
    family: str
    quantity: str
    measure: str
    target: float
    at_least: bool
    score: Callable[[F, F], float | None]
    chosen: Callable[[Pair], bool]
    modules: bool = False


def _wide(pair: Pair) -> bool:
    return _resource(pair) and _bits(pair, "weight_precision") >= 8


def _shallow(pair: Pair) -> bool:
    return _resource(pair) and _rf(pair) <= 1024


def _first_dsp(pair: Pair) -> bool:
    return _latency_kernel(pair) and _rf(pair) == 1 and _bits(pair, "input_precision") >= 16


def _reused(pair: Pair) -> bool:
    return _latency_kernel(pair) and _rf(pair) > 1


_RES, _LAT, _ALL = "Resource dense", "Latency dense, weights known", "whole projects"
TARGETS = (
    *(
        _Target(f"{_RES}, w >= 8", f"{kind}_dsp", "exact %", 98, True, _exact, _wide)
        for kind in ("hls", "synthesis")
    ),
    _Target(_RES, "ii_cycles", "exact %", 98, True, _exact, _resource),
    _Target(_RES, "latency_cycles", "exact %", 98, True, _exact, _resource),
    _Target(f"{_RES}, RF <= 1024", "hls_bram18", "within 1, %", 95, True, _within(1), _shallow),
    *(
        _Target(
            _RES,
            f"{kind}_{q}",
            "median APE %",
            8 if kind == "synthesis" else 10,
            False,
            _median,
            _resource,
        )
        for kind in ("synthesis", "hls")
        for q in ("lut", "ff")
    ),
    _Target(
        f"{_LAT}, RF 1, data >= 16 bits", "hls_dsp", "exact %", 90, True, _exact, _first_dsp, True
    ),
    _Target(_LAT, "hls_lut", "median APE %", 10, False, _median, _latency_kernel, True),
    _Target(_LAT, "hls_lut", "MAPE %", 25, False, _mean, _latency_kernel, True),
    _Target(f"{_LAT}, RF > 1", "ii_cycles", "MAPE %", 10, False, _mean, _reused, True),
    _Target(_LAT, "hls_ff", "median APE %", 20, False, _median, _latency_kernel, True),
    _Target(_LAT, "latency_cycles", "within 2, %", 80, True, _within(2), _latency_kernel, True),
    *(
        _Target(_ALL, quantity, "sMAPE %", 30, False, _smape, _project)
        for quantity in (
            "hls_dsp",
            "hls_bram18",
            "hls_lut",
            "hls_ff",
            "latency_cycles",
            "ii_cycles",
        )
    ),
    *(
        _Target(_ALL, f"synthesis_{q}", "sMAPE %", 30, False, _smape, _project)
        for q in ("dsp", "bram18", "lut", "ff")
    ),
)


def target_rows(pairs: list[Pair], module_pairs: list[Pair]) -> list[dict[str, Any]]:
    """Return the table: family, quantity, measure, n, target, measured, met."""
    rows = []
    for target in TARGETS:
        pool = [*pairs, *module_pairs] if target.modules else pairs
        chosen = [x for x in pool if x.quantity == target.quantity and target.chosen(x)]
        value = None
        if chosen:
            predicted = np.array([x.predicted for x in chosen])
            value = target.score(predicted, np.array([x.truth for x in chosen]))
        met = None if value is None else (value >= target.target) == target.at_least
        rows.append(
            {
                "family": target.family,
                "quantity": target.quantity,
                "measure": target.measure,
                "n": len(chosen),
                "target": f"{'>=' if target.at_least else '<='} {target.target:g}",
                "measured": value,
                "met": "-" if met is None else "yes" if met else "no",
            }
        )
    return rows
