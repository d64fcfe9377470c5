"""The analytic estimator against real synthesis reports: errors, targets, intervals, cost."""

import time
import timeit
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimates.reports import Reported, read_designs, read_layers
from benchmarks.report import read_cases, verdict
from rfprune.fpga.estimators.analytic import estimate, estimate_many
from rfprune.fpga.estimators.design import Design, LayerDesign

F = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """One quantity of one report: predicted and reported."""

    report: Reported
    quantity: str
    predicted: float
    truth: float

    @property
    def design(self) -> Design:
        """What was built."""
        assert self.report.design is not None
        return self.report.design

    @property
    def layers(self) -> tuple[LayerDesign, ...]:
        """Its layers."""
        return self.design.layers


def errors(predicted: F, truth: F) -> dict[str, Any]:
    """Return the errors of (n,) predictions in percent; APE over rows with a truth above 0."""
    some, off = truth > 0, np.abs(predicted - truth)
    ape = 100 * off[some] / truth[some]
    smape = 200 * off / np.maximum(np.abs(predicted) + np.abs(truth), 1e-9)
    spread = float(((truth - truth.mean()) ** 2).sum())
    return {
        "n": len(truth),
        "exact": 100 * float((np.round(predicted) == truth).mean()),
        "median_ape": float(np.median(ape)) if some.any() else None,
        "mape": float(ape.mean()) if some.any() else None,
        "smape": float(smape.mean()),
        "r2": 1 - float((off**2).sum()) / spread if spread > 0 else None,
    }


def pairs_of(reports: list[Reported]) -> list[Pair]:
    """Return every (report, quantity, predicted, reported) whose report could be read."""
    usable = [r for r in reports if r.design is not None]
    if not usable:
        return []
    table = estimate_many([r.design for r in usable if r.design is not None])
    cycles = {"latency_cycles": table.latency_cycles, "ii_cycles": table.ii_cycles}
    columns = {**table.total, **cycles, "hls_clock_ns": table.reachable_ns}
    return [
        Pair(report, quantity, float(columns[quantity][i]), truth)
        for i, report in enumerate(usable)
        for quantity, truth in report.targets.items()
    ]


def arrays(pairs: Iterable[Pair]) -> tuple[F, F]:
    """Return what was predicted and what was reported, (n,) each."""
    predicted, truth = np.array([(pair.predicted, pair.truth) for pair in pairs]).T
    return predicted, truth


def scores(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Return the errors per source, strategy and quantity, and those of all projects together."""
    found: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.report.source, pair.report.strategy, pair.quantity].append(pair)
        if pair.report.source.startswith("project:"):
            found["all projects", "all", pair.quantity].append(pair)
    names = ("source", "strategy", "quantity")
    return [
        dict(zip(names, key, strict=True)) | errors(*arrays(group))
        for key, group in sorted(found.items())
    ]


def _dense(strategy: str, pair: Pair) -> bool:
    return all(layer.type == "dense" and layer.strategy == strategy for layer in pair.layers)


def _resource(pair: Pair, bits: int = 0, most: float = float("inf")) -> bool:
    """Whether all layers are dense ones of strategy Resource, by weight width and reuse factor."""
    return (
        _dense("resource", pair)
        and all(layer.reuse_factor > 1 for layer in pair.layers)
        and max(layer.reuse_factor for layer in pair.layers) <= most
        and min(pair.design.width(layer.weight_precision) for layer in pair.layers) >= bits
    )


def _latency(pair: Pair, bits: int = 0, reused: bool | None = None) -> bool:
    """Whether all layers are dense ones of strategy Latency whose weights are known."""
    reuse_factor = max(layer.reuse_factor for layer in pair.layers)
    return (
        all(layer.weights is not None for layer in pair.layers)
        and _dense("latency", pair)
        and pair.report.row.get("kernel") in (None, "dense_latency")
        and (reused is None or (reuse_factor > 1) == reused)
        and min(pair.design.width(layer.input_precision) for layer in pair.layers) >= bits
    )


#: Name of a measure: how it is computed, and whether it should be large.
MEASURES: dict[str, tuple[Callable[[F, F], float | None], bool]] = {
    "within 1, %": (lambda p, y: 100 * float((np.abs(np.round(p) - y) <= 1).mean()), True),
    "within 2, %": (lambda p, y: 100 * float((np.abs(np.round(p) - y) <= 2).mean()), True),
    "exact %": (lambda p, y: errors(p, y)["exact"], True),
    "median APE %": (lambda p, y: errors(p, y)["median_ape"], False),
    "MAPE %": (lambda p, y: errors(p, y)["mape"], False),
    "sMAPE %": (lambda p, y: errors(p, y)["smape"], False),
}
CHOICES: dict[str, Callable[[Pair], bool]] = {
    "resource": _resource,
    "resource_wide": partial(_resource, bits=8),
    "resource_shallow": partial(_resource, most=1024),
    "latency": _latency,
    "latency_first": partial(_latency, bits=16, reused=False),
    "latency_reused": partial(_latency, reused=True),
    "project": lambda pair: pair.report.source.startswith("project:"),
}


def target_rows(pairs: list[Pair], modules: list[Pair]) -> Iterator[dict[str, Any]]:
    """Yield the table of targets beside what was measured."""
    for family in read_cases("estimates", "targets")["targets"]:
        pool = [*pairs, *modules] if family.get("modules") else pairs
        pool = [pair for pair in pool if CHOICES[family["chosen"]](pair)]
        for quantity, measure, asked in family["asked"]:
            own = [pair for pair in pool if pair.quantity == quantity]
            of, at_least = MEASURES[measure]
            value = of(*arrays(own)) if own else None
            yield {
                "family": family["name"],
                "quantity": quantity,
                "measure": measure,
                "n": len(own),
                "target": f"{'>=' if at_least else '<='} {asked:g}",
                "measured": value,
                "met": {True: "yes", False: "no", None: "-"}[verdict(value, asked, at_least)],
            }


def costs(reports: list[Reported]) -> dict[str, float]:
    """Return CPU seconds per design, alone and in a batch of 1000, each design read afresh.

    The least of five: what other processes take from the caches is not the estimator's.
    """
    designs = [r.design for r in reports if r.design is not None]
    batch = (designs * (1000 // len(designs) + 1))[:1000]
    singles = designs[:: max(1, len(designs) // 50)]
    estimate(designs[0])
    seconds = partial(timeit.repeat, timer=time.process_time, number=1, repeat=5)
    alone = float(np.median([min(seconds(partial(estimate, design))) for design in singles]))
    together = min(seconds(partial(estimate_many, batch))) / len(batch)
    return {"seconds_single": alone, "seconds_in_batch_of_1000": together}


def measure(designs: Path, layers: Path | None) -> dict[str, Any]:
    """Return everything that is printed, as plain values.

    Args:
        designs: reports of whole designs, Parquet.
        layers: reports of single modules.
    """
    reports = read_designs(designs)
    modules = [] if layers is None else read_layers(layers)
    pairs = pairs_of(reports)

    def left_out(of: list[Reported]) -> dict[str, int]:
        return dict(Counter(f"{r.source}: {r.reason}" for r in of if r.design is None))

    return {
        "designs": str(designs.name),
        "rows": len(reports),
        "left_out": left_out(reports),
        "left_out_modules": left_out(modules),
        "assumed": dict(Counter(f"{r.source}: {text}" for r in reports for text in r.assumed)),
        "scores": scores(pairs),
        "targets": list(target_rows(pairs, pairs_of(modules))),
        "cost": costs(reports) if pairs else {},
    }
