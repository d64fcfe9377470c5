"""Rows of pages that were made before, so that one tool can be run again and shown beside others.

They have the digits that the page shows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Points = list[dict[str, Any]]

_WHOLE = ("seed", "step", "cycles", "ebops", "yosys_lut")
_WORDS = ("task", "tool")


def rows_of(pages: Sequence[Path], metrics: dict[str, str]) -> Points:
    """Return the points that pages of `benchmarks.widths` show; a later page does not repeat one.

    Args:
        pages: made by this study.
        metrics: the score by task; rows of other tasks are left out.
    """
    found: Points = []
    for page in pages:
        known = {(row["task"], row["tool"]) for row in found}
        lines = page.read_text(encoding="utf-8").split("## All points")[1].strip().splitlines()
        names = _cells(lines[0])
        for line in lines[2:]:
            given = dict(zip(names, _cells(line), strict=True))
            row = {name: _value(name, text) for name, text in given.items() if text != "-"}
            if row["task"] in metrics and (row["task"], row["tool"]) not in known:
                found.append({**row, "metric": metrics[row["task"]]})
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _value(name: str, text: str) -> Any:
    """Return what a cell says."""
    if name in _WORDS:
        return text
    if name == "ramp":
        return [float(part) for part in text.split()]
    return int(text) if name in _WHOLE else float(text)
