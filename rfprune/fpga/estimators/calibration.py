"""The user's own reports: what they say is kept, and later estimates are corrected by it.

Reports that stand beside the configuration of a design are compared with the analytic estimate.
The correction of a family and quantity is the median log ratio of its designs, so that a rule that
is exact for most stays exact, drawn towards 1 as if two more designs had agreed with the estimate.
What was read stays in the user's folder, file by
file, so that a correction can be traced back and taken away again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from rfprune.core.files import read_json, write_atomic
from rfprune.core.paths import user_folder
from rfprune.core.quantities import RESOURCES, Resources
from rfprune.errors import ReportError, RunsError
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.families import family
from rfprune.fpga.estimators.intervals import OFFSETS
from rfprune.fpga.estimators.reports import Report, all_reports
from rfprune.fpga.estimators.result import Estimate

__all__ = [
    "calibration_file",
    "corrected",
    "corrections",
    "forget",
    "kept",
    "measured",
    "remember",
]

#: Designs that are taken to agree with the estimate, beside those that were read.
_PRIOR_DESIGNS = 2.0
_CYCLES = ("latency_cycles", "ii_cycles")


def calibration_file() -> Path:
    """Return where the user's own reports are kept, which need not exist."""
    return user_folder("config") / "calibration.json"


def measured(design: Design, folder: Path) -> dict[str, float]:
    """Return what the reports below `folder` say about `design`, by quantity with its kind.

    Raises:
        ReportError: no report, a damaged one, one of another part or clock, or two that contradict
            each other.
    """
    found: dict[str, float] = {}
    for kind, reports in all_reports(folder).items():
        # Its cycles are those of the simulated inputs only.
        if kind == "cosim":
            continue
        for report in reports:
            _refuse_other_designs(report, design)
        # The order is that of `all_reports`: the one that counts first.
        first = reports[0]
        for other in reports[1:]:
            _refuse_contradiction(first, other)
        prefix = "hls" if kind == "csynth" else "synthesis"
        for name, value in first.resources._asdict().items():
            if value is not None:
                found[f"{prefix}_{name}"] = float(value)
        if kind == "csynth":
            # Images on a stream may skip pixels; the worst case is the one that counts.
            end = "max" if design.io_type == "io_stream" else "min"
            for name, key in zip(_CYCLES, ("latency", "ii"), strict=True):
                value = getattr(first, f"{key}_{end}")
                if value is not None:
                    found[name] = float(value)
    if not found:
        raise ReportError(f"{folder}: holds no report of C synthesis or logic synthesis.")
    return found


def _refuse_other_designs(report: Report, design: Design) -> None:
    if report.part is not None:
        # Vivado leaves out the first two letters: 7z020clg400-1.
        named = f"xc{report.part.lower().removeprefix('xc')}"
        if not named.startswith(design.device.name):
            raise ReportError(
                f"{report.path}: is of part {report.part}, and the design says {design.part}. "
                "Allowed: reports of the design's own part."
            )
    # Reports round the period to two digits.
    if report.clock_ns is not None and abs(report.clock_ns - design.clock_ns) > 0.02:
        raise ReportError(
            f"{report.path}: is for a clock of {report.clock_ns:g} ns, and the design says "
            f"{design.clock_ns:g}. Allowed: reports at the design's own clock."
        )


def _refuse_contradiction(first: Report, other: Report) -> None:
    cycles = ("latency_min", "latency_max", "ii_min", "ii_max")
    pairs = {name: [getattr(each.resources, name) for each in (first, other)] for name in RESOURCES}
    pairs |= {name: [getattr(each, name) for each in (first, other)] for name in cycles}
    for name, (a, b) in pairs.items():
        if a is not None and b is not None and a != b:
            raise ReportError(
                f"{first.path} says {name} {a:g} and {other.path} says {b:g}. Allowed: one report "
                "of each kind for a design; remove the older one."
            )


def kept() -> list[dict[str, Any]]:
    """Return what was read from the user's own reports, one row per design.

    Raises:
        RunsError: the file is damaged.
    """
    path = calibration_file()
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else []


# Keyed by the time of change as well: a calibration may be written while a driver runs.
@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> list[dict[str, Any]]:
    values = read_json(path)
    rows = values.get("designs") if isinstance(values, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RunsError(
            f"{path}: is not a calibration of rfprune. 'rfprune calibrate --forget' removes it."
        )
    return rows


def remember(rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep rows of ``{"design", "reports", "family", "tool", "ratios"}``, one per design.

    A design that was read before is replaced.
    """
    new = {str(row["reports"]): dict(row) for row in rows}
    # Read again, the same reports replace what was read of them before.
    old = [row for row in kept() if str(row.get("reports")) not in new]
    path = calibration_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": 1, "designs": [*old, *new.values()]}, indent=1)
    write_atomic(path, text + "\n")


def forget() -> int:
    """Remove the user's calibration; return how many designs it held."""
    path = calibration_file()
    if not path.is_file():
        return 0
    try:
        # Also what can no longer be read is taken away, and counts as none.
        number = len(kept())
    except RunsError:
        number = 0
    path.unlink()
    return number


def corrections(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, tuple[float, int]]:
    """Return quantity -> (factor, designs) for designs of family `name`."""
    logs: dict[str, list[float]] = {}
    for row in rows:
        if row.get("family") == name:
            for quantity, (predicted, reported) in row["ratios"].items():
                offset = OFFSETS[quantity]
                logs.setdefault(quantity, []).append(
                    math.log((reported + offset) / (predicted + offset))
                )
    return {
        # Medians of logarithms: one design that is far off moves nothing.
        quantity: (math.exp(median(own) * len(own) / (len(own) + _PRIOR_DESIGNS)), len(own))
        for quantity, own in logs.items()
    }


def corrected(found: Estimate, design: Design) -> Estimate:
    """Return an estimate as the user's own reports of its family correct it; says so in a note."""
    rows = kept()
    factors = corrections(rows, family(design)) if rows else {}
    if not factors:
        return found

    def scaled(resources: Resources | None, kind: str) -> Resources | None:
        if resources is None:
            return None
        values = {
            name: _scaled(value, factors.get(f"{kind}_{name}"), f"{kind}_{name}")
            for name, value in resources._asdict().items()
        }
        return Resources(**values)

    hls, synthesis = scaled(found.hls, "hls"), scaled(found.synthesis, "synthesis")
    total = scaled(found.total, found.predicts)
    assert total is not None
    cycles = {name: _scaled(getattr(found, name), factors.get(name), name) for name in _CYCLES}
    intervals = dict(found.intervals)
    for name in intervals:
        # Cycles are the same in both kinds of report; resources are not.
        quantity = name if name in _CYCLES else f"{found.predicts}_{name}"
        factor = factors.get(quantity)
        if factor is not None:
            low, high = (_scaled(value, factor, quantity) or 0 for value in intervals[name])
            intervals[name] = low, high
    return replace(
        found,
        total=total,
        hls=hls,
        synthesis=synthesis,
        latency_cycles=None if cycles["latency_cycles"] is None else int(cycles["latency_cycles"]),
        ii_cycles=None if cycles["ii_cycles"] is None else int(cycles["ii_cycles"]),
        intervals=intervals,
        notes=(*found.notes, " ".join(_note(factors))),
    )


def _scaled(value: float | None, factor: tuple[float, int] | None, quantity: str) -> float | None:
    if value is None or factor is None:
        return value
    offset = OFFSETS[quantity]
    return max(round((value + offset) * factor[0] - offset), 0)


def _note(factors: Mapping[str, tuple[float, int]]) -> Iterator[str]:
    number = max(n for _, n in factors.values())
    yield f"Corrected by {number} of your own reports ({calibration_file()}):"
    yield ", ".join(f"{name} x {factor:.2f}" for name, (factor, _) in factors.items()) + "."
