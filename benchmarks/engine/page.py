"""What `benchmarks.engine` measured against what was asked for, as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report import RESULTS, table

__all__ = ["CASE_COLUMNS", "TARGET_COLUMNS", "targets", "write_page"]

PAGE = RESULTS / "engine.md"
TARGET_COLUMNS = ("target", "asked", "measured", "met")
CASE_COLUMNS = (
    "case",
    "engine",
    "sampler",
    "trial_seconds",
    "trials",
    "trials_per_second",
    "driver_cpu_ms_per_trial",
    "cpu_ms_first_100",
    "cpu_ms_last_100",
    "growth_percent",
    "busy_percent",
    "start_seconds",
    "tune_bytes_per_trial",
    "mlflow_ms_per_trial",
    "runs",
    "load",
    "error",
)


@dataclass(frozen=True)
class Target:
    """One number that was asked for: at most `limit`, or at least if `is_floor`."""

    text: str
    case: str
    quantity: str
    limit: float
    is_floor: bool = False

    def row(self, measured: float | None) -> dict[str, Any]:
        """Return the line of the table."""
        met = measured is not None and (
            measured >= self.limit if self.is_floor else measured <= self.limit
        )
        asked = f"{'at least' if self.is_floor else 'at most'} {self.limit:g}"
        return {
            "target": self.text,
            "asked": asked,
            "measured": None if measured is None else f"{measured:.3g}",
            "met": "-" if measured is None else "yes" if met else "no",
        }


_CPU = "driver_cpu_ms_per_trial"
TARGETS = (
    Target("driver CPU per trial, random, ms", "random", _CPU, 30),
    Target("driver CPU per trial, NSGA-II, ms", "nsga2", _CPU, 30),
    Target("workers busy with trials of 2 s, %", "busy", "busy_percent", 92, is_floor=True),
    Target("growth over 1,000 trials of 0 s, NSGA-II, %", "growth", "growth_percent", 10),
    Target("Tune's own state per trial, bytes", "nsga2", "tune_bytes_per_trial", 2000),
    Target("MLflow projection per trial, ms", "mlflow", "mlflow_ms_per_trial", 40),
    Target("`rfprune sweep` to its first trial, s", "start", "start_seconds", 15),
)


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one line per target; a dash where its case was not run."""
    by_case = {row["case"]: row for row in rows}
    return [t.row(by_case.get(t.case, {}).get(t.quantity)) for t in TARGETS]


def write_page(rows: Sequence[dict[str, Any]], known: str) -> None:
    """Write ``docs/results/engine.md``."""
    text = f"""# What the sweep engine costs

Made by `python -m benchmarks.engine --page`. {known}

Each case runs in a process of its own, one after the other. Trials sleep; everything else is real:
Ray workers, the study, run folders. Driver CPU is that of the driver between the first and the last
completed trial, over the trials between them; for Optuna in two processes it is that of both, with
their start. Busy is the time that trials ran over the time of both slots. Where a case ran more
than once (`runs`) each number is the median of its runs.

## Targets

{table(targets(rows), TARGET_COLUMNS)}

## All cases

{table(rows, [name for name in CASE_COLUMNS if any(name in row for row in rows)])}
"""
    PAGE.write_text(text, encoding="utf-8")
