"""Exports, their certificates and their times: ``python -m benchmarks.certificates [--json]``.

What is measured, and how: ``pages/certificates.md``.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.certificates import measure
from benchmarks.layers.cases import PATHS
from benchmarks.report import Kept, Study, listed, read_cases, render, sentence, table

_NETWORKS = list(read_cases("certificates")["unrolled"]["networks"])
_PARTS = ("unrolled", "exhaustive", "jets", "check")


class Measured(Kept):
    """What has been measured so far."""

    unrolled: dict[str, Any] = Field(default_factory=dict)
    exhaustive: list[dict[str, Any]] = Field(default_factory=list)
    jets: dict[str, Any] = Field(default_factory=dict)
    check: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the parts that are asked for and not known yet, one after the other."""
    found = Measured.read(options.kept)

    def make(known: Any, name: str, work: Callable[[Path], Any]) -> None:
        if name in known:
            return
        with tempfile.TemporaryDirectory(prefix="rfprune-certificates-") as scratch:
            known[name] = work(Path(scratch))
        found.write(options.kept)

    if "unrolled" in options.parts:
        for number, name in enumerate(_NETWORKS):
            make(
                found.unrolled,
                name,
                lambda home, name=name, number=number: measure.unrolled(
                    name, number, home, options.rows, options.seed
                ),
            )
    if "jets" in options.parts:
        make(found.jets, "certificate", lambda home: measure.certified_jets(home, options.seed))
    if "exhaustive" in options.parts and not found.exhaustive:
        with tempfile.TemporaryDirectory(prefix="rfprune-certificates-") as scratch:
            found.exhaustive = measure.exhaustive(Path(scratch))
        found.write(options.kept)
    if "check" in options.parts:
        with tempfile.TemporaryDirectory(prefix="rfprune-certificates-") as scratch:
            # What passed before would not be built again.
            os.environ["XDG_CACHE_HOME"] = scratch
            for path in PATHS:
                some = 0 if path == "alkaid" else options.largest
                make(found.check, path, lambda _, path=path, some=some: measure.checked(path, some))
    return found.model_dump()


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    rows = [dict(each) for each in result["unrolled"].values()]
    scores = [{"network": row["network"], **_score(row)} for row in rows]
    notes = sorted({note for row in rows for note in row.pop("notes")})
    for row in rows:
        row.pop(next(key for key in row if key.startswith("val_")))
    slowest = [row for path in result["check"].values() for row in path[:3]]
    counts = {path: len(rows) for path, rows in result["check"].items()}
    return render(
        "certificates",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        unrolled=table(rows),
        scores=table(scores),
        notes="\n".join(f"- {note}" for note in notes) or "(none)",
        exhaustive=table(result["exhaustive"]),
        jets=table(result["jets"].values()),
        counts=", ".join(f"{path} {count}" for path, count in counts.items()) or "none",
        slowest=table(slowest),
    )


def _score(row: dict[str, Any]) -> dict[str, Any]:
    name = next(key for key in row if key.startswith("val_"))
    return {"score": name, "value": row[name]}


if __name__ == "__main__":
    Study(
        "certificates",
        "exports, their certificates and their times",
        measured,
        page,
        packages=("rfprune", "alkaid", "hls4ml", "torch", "numpy"),
        options={
            "--parts": (listed(_PARTS), list(_PARTS), f"of {', '.join(_PARTS)}"),
            "--rows": (int, 10000, "rows of each data set"),
            "--largest": (int, 3, "networks of the table to check by hls4ml, per io type; 0: all"),
            "--seed": (int, 0, "of the simulated rows"),
            "--kept": (Path, None, "file of what has been measured, to go on from"),
        },
    ).run()
