"""Fits and checks the rule from the cost of an adder graph to look-up tables after routing.

``python -m benchmarks.estimates.routed [--data FILE]`` prints the constants of
`rfprune.fpga.estimators.routed` and the errors with one design left out at a time.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.estimates.fit import DEFAULT_DATA
from rfprune.fpga.estimators import routed


def check(path: Path) -> dict[str, Any]:
    """Return constants and left-out errors (percent) of LUT, FF and period."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("adder_cost", "lut", "ff", "achieved_period_ns")
    cost, lut, ff, period = np.array([[float(row[name]) for row in rows] for name in names])
    found: dict[str, Any] = {"designs": len(rows)}
    for name, truth in (("lut", lut), ("ff", ff), ("period_ns", period)):
        errors = []
        for out in range(len(rows)):
            kept = np.arange(len(rows)) != out
            slope, start = _fit(cost[kept], truth[kept], name)
            said = np.exp(start) * cost[out] ** slope
            errors.append(abs(said / truth[out] - 1))
        slope, start = _fit(cost, truth, name)
        found[name] = {
            "factor": float(np.exp(start)),
            "power": float(slope),
            "left out median %": 100 * float(np.median(errors)),
            "left out worst %": 100 * float(max(errors)),
        }
    return found


def _fit(cost: Any, truth: Any, name: str) -> tuple[float, float]:
    """Return power and log factor; the power of counts is 1."""
    if name != "period_ns":
        return 1.0, float(np.log(truth / cost).mean())
    slope, start = np.polyfit(np.log(cost), np.log(truth), 1)
    return float(slope), float(start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA / "routed_da" / "designs.csv")
    found = check(parser.parse_args().data)
    used = {"lut": routed.LUT_PER_COST, "ff": routed.FF_PER_COST, "power": routed.PERIOD_POWER}
    print(json.dumps({**found, "in use": used}, indent=1))


if __name__ == "__main__":
    main()
