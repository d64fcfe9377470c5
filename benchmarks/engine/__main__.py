"""What the sweep engine costs, and what is asked of it."""

import argparse
from typing import Any

from benchmarks.engine.measure import CASES, SLOTS, run_apart
from benchmarks.report import Study, listed, read_cases, render, sentence, table, verdict


def page(result: dict[str, Any]) -> str:
    """Return the page; targets whose case was not run have a dash."""
    rows = {row["case"]: row for row in result["cases"]}
    targets = []
    for target in read_cases("engine")["targets"]:
        measured = rows.get(target["case"], {}).get(target["quantity"])
        (way,) = target.keys() & {"at least", "at most"}
        limit = target[way]
        if isinstance(limit, str):
            # Another case, measured in the same run.
            limit = rows.get(limit, {}).get(target["quantity"])
        met = None if limit is None else verdict(measured, limit, way == "at least")
        asked = "-" if limit is None else f"{way} {limit:.3g}"
        row = {"target": target["name"], "asked": asked, "measured": measured}
        targets.append({**row, "met": {True: "yes", False: "no", None: None}[met]})
    return render(
        "engine",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        targets=table(targets),
        cases=table(rows.values()),
    )


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the cases one after the other."""
    return {"slots": SLOTS, "cases": [run_apart(name) for name in given.cases]}


if __name__ == "__main__":
    Study(
        "engine",
        "what the sweep engine costs: CPU of the driver, idle workers, start-up, MLflow",
        measure,
        page,
        packages=("rfprune", "ray", "optuna", "mlflow"),
        options={"--cases": (listed(CASES), ",".join(CASES), f"some of: {', '.join(CASES)}")},
    ).run()
