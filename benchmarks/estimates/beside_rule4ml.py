"""The surrogate rule4ml and the analytic estimator on the same published reports.

``python -m benchmarks.estimates.beside_rule4ml --designs FILE.parquet --out FILE.json`` needs the
package rule4ml (TensorFlow and torch, two gigabytes installed), so it runs apart from
`benchmarks.estimates`, whose page shows the file.
"""

import argparse
import importlib
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.estimates.reports import Reported, read_designs
from benchmarks.estimates.score import errors
from benchmarks.report import RESULTS
from rfprune.errors import SpecError
from rfprune.fpga.estimators import rule4ml
from rfprune.fpga.estimators.analytic import estimate
from rfprune.fpga.estimators.result import Estimate

RULE4ML = RESULTS / "estimates" / "rule4ml.json"


def _accepted(report: Reported) -> bool:
    try:
        rule4ml.configuration(report.design) if report.design is not None else None
    except SpecError:
        return False
    return report.design is not None


def _said(found: Estimate, quantity: str) -> float | None:
    """Return what an estimate says about one reported quantity, of the kind that was reported."""
    if quantity in ("latency_cycles", "ii_cycles"):
        return getattr(found, quantity)  # type: ignore[no-any-return]
    kind, name = quantity.split("_", 1)
    # A clock is no count of resources.
    return getattr(getattr(found, kind) or found.total, name, None)


def compare(reports: list[Reported], most: int) -> dict[str, Any]:
    """Return errors and CPU seconds of both on at most `most` designs per source and strategy."""
    groups: dict[tuple[str, str], list[Reported]] = defaultdict(list)
    for report in filter(_accepted, reports):
        groups[report.source, report.strategy].append(report)
    rows, seconds, designs = [], {"rule4ml": 0.0, "analytic": 0.0}, 0
    for (source, strategy), group in groups.items():
        found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for index in np.unique(np.linspace(0, len(group) - 1, most).astype(int)):
            report = group[index]
            assert report.design is not None
            begin = time.process_time()
            other = rule4ml.estimate(report.design)
            middle = time.process_time()
            ours = estimate(report.design)
            seconds["rule4ml"] += middle - begin
            seconds["analytic"] += time.process_time() - middle
            designs += 1
            for quantity, truth in report.targets.items():
                said = _said(other, quantity), _said(ours, quantity)
                if said[0] is not None and said[1] is not None:
                    found[quantity].append((said[0], said[1], truth))
        for quantity, values in sorted(found.items()):
            his, own, truth = np.array(values).T
            row = {"source": source, "strategy": strategy, "quantity": quantity, "n": len(truth)}
            for name, predicted in (("rule4ml", his), ("analytic", own)):
                error = errors(predicted, truth)
                row |= {f"{name} MAPE": error["mape"], f"{name} sMAPE": error["smape"]}
            rows.append(row)
    return {
        "designs": designs,
        "rows": rows,
        "timed_designs": designs,
        "seconds_per_design": {name: s / max(designs, 1) for name, s in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="rule4ml and the analytic estimator")
    parser.add_argument("--designs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RULE4ML, help="JSON for the page")
    parser.add_argument("--most", type=int, default=71, help="designs per source and strategy")
    given = parser.parse_args()
    # Loaded after TensorFlow, which rule4ml loads, torch's compiler crashes.
    importlib.import_module("torch._dynamo")
    result = compare(read_designs(given.designs), given.most)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["seconds_per_design"]))


if __name__ == "__main__":
    main()
