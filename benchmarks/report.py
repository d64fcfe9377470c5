"""What every measurement states: machine, versions, seed; and how its rows become a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rfprune

__all__ = ["RESULTS", "ROOT", "facts", "print_result", "sentence", "table"]

ROOT = Path(__file__).resolve().parents[1]
#: Where the committed pages are.
RESULTS = ROOT / "docs" / "results"


def facts(packages: Sequence[str], seed: int) -> dict[str, Any]:
    """Return machine, Python, versions of the packages (None if absent), load and seed."""
    versions = {package: _version(package) for package in packages}
    return {
        "machine": f"{platform.machine()} {platform.system()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": versions,
        "seed": seed,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # rfprune itself may run from its folder
        return rfprune.__version__ if package == "rfprune" else None


def _processor() -> str:
    """Return the name of the processor where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def sentence(known: Mapping[str, Any]) -> str:
    """Return `facts` as one line of text."""
    versions = ", ".join(f"{name} {number or '-'}" for name, number in known["versions"].items())
    return (
        f"{known['machine']}, {known['processor']}, {known['cpus']} cpus, load "
        f"{known['load']} at the start; Python {known['python']}, {versions}; seed {known['seed']}."
    )


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as a Markdown table; numbers are rounded, what is missing or None is a dash."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(column)) for column in columns) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def print_result(text: str, result: Mapping[str, Any], as_json: bool) -> None:
    """Print one JSON object, or the text."""
    print(json.dumps(result) if as_json else text)
