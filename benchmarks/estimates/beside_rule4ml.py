"""The surrogate rule4ml and the analytic estimator on the same published reports.

``python -m benchmarks.estimates.beside_rule4ml --designs FILE.parquet --out FILE.json`` needs the
package rule4ml (TensorFlow and torch, two gigabytes installed), so it runs apart from
`benchmarks.estimates`, whose page shows the file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.estimates.reports import Reported, read_designs
from benchmarks.estimates.score import Score, score
from rfprune.errors import SpecError
from rfprune.estimate import rule4ml
from rfprune.estimate.analytic import estimate
from rfprune.estimate.result import Estimate

__all__ = ["compare"]


def _accepted(report: Reported) -> bool:
    try:
        rule4ml.configuration(report.design) if report.design is not None else None
    except SpecError:
        return False
    return report.design is not None


def _chosen(reports: list[Reported], most: int) -> dict[tuple[str, str], list[Reported]]:
    """Return the reports that rule4ml accepts, by source and strategy, evenly spaced."""
    found: dict[tuple[str, str], list[Reported]] = defaultdict(list)
    for report in filter(_accepted, reports):
        found[report.source, report.strategy].append(report)
    return {
        key: [group[i] for i in np.unique(np.linspace(0, len(group) - 1, most).astype(int))]
        for key, group in found.items()
    }


def _said(found: Estimate, quantity: str) -> float | None:
    """Return what an estimate says about one reported quantity, of the kind that was reported."""
    if quantity in ("latency_cycles", "ii_cycles"):
        return getattr(found, quantity)  # type: ignore[no-any-return]
    kind, name = quantity.split("_", 1)
    resources = getattr(found, kind) or found.total
    return getattr(resources, name)  # type: ignore[no-any-return]


def _row(other: Score, ours: Score) -> dict[str, Any]:
    return {
        "source": other.source,
        "strategy": other.strategy,
        "quantity": other.quantity,
        "n": other.n,
        "rule4ml MAPE": other.mape,
        "rule4ml sMAPE": other.smape,
        "analytic MAPE": ours.mape,
        "analytic sMAPE": ours.smape,
    }


def compare(reports: list[Reported], most: int = 71) -> dict[str, Any]:
    """Return errors of both per source, strategy and quantity, and their seconds of CPU time.

    Args:
        reports: published reports.
        most: designs of one source and strategy.
    """
    rows, seconds = [], {"rule4ml": 0.0, "analytic": 0.0}
    designs = 0
    for (source, strategy), group in _chosen(reports, most).items():
        pairs: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for report in group:
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
                    pairs[quantity].append((said[0], said[1], truth))
        for quantity, values in sorted(pairs.items()):
            his, own, truths = np.array(values).T
            scores = [score(source, strategy, quantity, p, truths) for p in (his, own)]
            rows.append(_row(*scores))
    per_design = {name: total / max(designs, 1) for name, total in seconds.items()}
    return {
        "designs": designs,
        "rows": rows,
        "timed_designs": designs,
        "seconds_per_design": per_design,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--designs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON for the page")
    parser.add_argument("--most", type=int, default=71, help="designs per source and strategy")
    arguments = parser.parse_args()
    result = compare(read_designs(arguments.designs), arguments.most)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["seconds_per_design"]))


if __name__ == "__main__":
    main()
