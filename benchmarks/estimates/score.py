"""The analytic estimator against real synthesis reports.

``python -m benchmarks.estimates --designs FILE.parquet [--layers FILE.parquet] [--json]`` prints
per source, strategy and quantity: n, exact share, median APE, MAPE, sMAPE and R2; the table of
targets beside what was measured; what was left out and why; and the cost per design. ``--page
FILE`` writes the committed page with its plots.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimates.reports import Reported, read_designs, read_layers
from benchmarks.estimates.targets import Pair, target_rows
from rfprune.estimate.analytic import EstimateTable, estimate, estimate_many
from rfprune.estimate.design import Design

F = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """How well one quantity of one source is predicted; errors in percent."""

    source: str
    strategy: str
    quantity: str
    n: int
    exact: float
    median_ape: float | None
    mape: float | None
    smape: float
    r2: float | None


def score(source: str, strategy: str, quantity: str, predicted: F, truth: F) -> Score:
    """Return the errors of (n,) predictions; APE over rows with a truth above 0."""
    some = truth > 0
    ape = 100 * np.abs(predicted[some] - truth[some]) / truth[some]
    size = np.abs(predicted) + np.abs(truth)
    smape = np.where(size > 0, 200 * np.abs(predicted - truth) / np.maximum(size, 1e-9), 0.0)
    spread = float(((truth - truth.mean()) ** 2).sum())
    left = float(((truth - predicted) ** 2).sum())
    return Score(
        source,
        strategy,
        quantity,
        len(truth),
        100 * float((np.round(predicted) == truth).mean()),
        float(np.median(ape)) if some.any() else None,
        float(ape.mean()) if some.any() else None,
        float(smape.mean()),
        1 - left / spread if spread > 0 else None,
    )


def pairs_of(reports: list[Reported]) -> tuple[list[Pair], EstimateTable | None]:
    """Return every (report, quantity, predicted, reported) whose report could be read."""
    usable = [r for r in reports if r.design is not None]
    if not usable:
        return [], None
    table = estimate_many([r.design for r in usable if r.design is not None])
    columns = {**table.total, "latency_cycles": table.latency_cycles, "ii_cycles": table.ii_cycles}
    pairs = [
        Pair(report, quantity, float(columns[quantity][i]), truth)
        for i, report in enumerate(usable)
        for quantity, truth in report.targets.items()
    ]
    return pairs, table


def scores(pairs: list[Pair]) -> list[Score]:
    """Return the scores per source, strategy and quantity, and those of all projects together."""
    found: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.report.source, pair.report.strategy, pair.quantity].append(pair)
        if pair.report.source.startswith("project:"):
            found["all projects", "all", pair.quantity].append(pair)
    return [
        score(
            *key,
            np.array([pair.predicted for pair in group]),
            np.array([pair.truth for pair in group]),
        )
        for key, group in sorted(found.items())
    ]


def costs(reports: list[Reported]) -> dict[str, float]:
    """Return CPU seconds per design, alone and in a batch of 1000, each design read afresh."""
    designs = [r.design for r in reports if r.design is not None]
    batch = (designs * (1000 // len(designs) + 1))[:1000]
    singles = designs[:: max(1, len(designs) // 50)]
    estimate(designs[0])
    alone = float(np.median([_alone(design) for design in singles]))
    together = min(_seconds(batch) for _ in range(3)) / len(batch)
    return {"seconds_single": alone, "seconds_in_batch_of_1000": together}


def _alone(design: Design) -> float:
    begin = time.process_time()
    estimate(design)
    return time.process_time() - begin


def _seconds(designs: list[Design]) -> float:
    begin = time.process_time()
    estimate_many(designs)
    return time.process_time() - begin


def interval_rows(reports: list[Reported]) -> list[dict[str, Any]]:
    """Return how often the interval of a Latency design without its weights holds the truth."""
    latency = [
        r
        for r in reports
        if r.design is not None and r.strategy == "latency" and _weighed(r.design)
    ]
    held: dict[str, list[bool]] = defaultdict(list)
    for report in latency:
        assert report.design is not None
        layers = tuple(x.model_copy(update={"weights": None}) for x in report.design.layers)
        found = estimate(report.design.model_copy(update={"layers": layers}))
        for name, (low, high) in found.intervals.items():
            truth = report.targets.get(name if name == "ii_cycles" else f"hls_{name}")
            if truth is not None:
                held[name].append(low <= truth <= high)
    return [
        {"quantity": name, "n": len(hits), "contains the truth, %": 100 * float(np.mean(hits))}
        for name, hits in held.items()
    ]


def _weighed(design: Design) -> bool:
    return any(layer.weights is not None for layer in design.layers)


def left_out(reports: list[Reported]) -> dict[str, int]:
    """Return reason -> number of reports that could not be estimated."""
    return dict(Counter(f"{r.source}: {r.reason}" for r in reports if r.design is None))


def assumed(reports: list[Reported]) -> dict[str, int]:
    """Return assumption -> number of reports whose rows left something open."""
    return dict(Counter(f"{r.source}: {text}" for r in reports for text in r.assumed))


def measure(designs: Path, layers: Path | None) -> dict[str, Any]:
    """Return everything that is printed, as plain values."""
    reports = read_designs(designs)
    modules = [] if layers is None else read_layers(layers)
    pairs, _ = pairs_of(reports)
    module_pairs, _ = pairs_of(modules)
    return {
        "designs": str(designs.name),
        "rows": len(reports),
        "left_out": left_out(reports),
        "left_out_modules": left_out(modules),
        "assumed": assumed(reports),
        "intervals": interval_rows([*reports, *modules]),
        "scores": [asdict(s) for s in scores(pairs)],
        "targets": target_rows(pairs, module_pairs),
        "cost": costs(reports) if pairs else {},
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return rows as a markdown table."""
    if not rows:
        return "(none)\n"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def report(result: dict[str, Any]) -> str:
    """Return the whole result as markdown."""
    missing = [{"n": n, "why": why} for why, n in result["left_out"].items()]
    missing += [
        {"n": n, "why": f"module of {why}"} for why, n in result["left_out_modules"].items()
    ]
    taken = [{"n": n, "what": what} for what, n in result["assumed"].items()]
    cost = [{"case": k, "microseconds": 1e6 * v} for k, v in result["cost"].items()]
    return "\n".join(
        [
            f"{result['rows']} designs of {result['designs']}\n",
            "## Targets\n",
            markdown(result["targets"]),
            "## Intervals of Latency designs without their weights\n",
            markdown(result["intervals"]),
            "## Errors per source\n",
            markdown(result["scores"]),
            "## Left out\n",
            markdown(missing),
            "## Assumed, since the row leaves it open\n",
            markdown(taken),
            "## Cost per design\n",
            markdown(cost),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--designs", type=Path, required=True)
    parser.add_argument("--layers", type=Path, help="module reports; beside --designs if not given")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", type=Path, help="markdown file; plots go into a folder beside it")
    arguments = parser.parse_args()
    beside = arguments.designs.with_name("layers.parquet")
    layers = arguments.layers or (beside if beside.is_file() else None)
    result = measure(arguments.designs, layers)
    print(json.dumps(result) if arguments.json else report(result))
    if arguments.page:
        from benchmarks.estimates.page import page
        from benchmarks.estimates.plots import draw

        draw(pairs_of(read_designs(arguments.designs))[0], arguments.page.with_suffix(""))
        arguments.page.write_text(page(result, markdown), encoding="utf-8")


if __name__ == "__main__":
    main()
