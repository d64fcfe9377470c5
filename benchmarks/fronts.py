"""Writes the page of fronts: ``python -m benchmarks.fronts --runs runs NAME...``.

The sweeps themselves are run by ``rfprune sweep``; this page shows what their run folders hold.
What the page says of sweeps that are not named stays. With ``--prove LUT`` points of at most so
many LUTs are exported, and their rows say which of the ways to compute them were equal.
"""

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, render, table
from rfprune.exporting import Request, export
from rfprune.results import TrialFolder, find_sweep, front_png, read_front

_COLUMNS = ("val_accuracy", "accuracy", "dsp", "bram18", "lut", "latency_cycles", "sparsity")
_SHARES = ("val_accuracy", "accuracy", "sparsity")


def proven(trial: TrialFolder, step: int) -> str:
    """Export a point; return what was compared in its certificate, and whether it was equal."""
    with tempfile.TemporaryDirectory() as scratch:
        export(Request(trial, step, Path(scratch) / "out"))
        certificate = json.loads((Path(scratch) / "out" / "certificate.json").read_text())
    # Beside these, the network in floats, which is only near.
    found = [
        f"{each['a']} {'=' if each['equal'] else 'is not'} {each['b']}"
        for each in certificate["compared"]
        if each["tolerance"] == 0
    ]
    return ", ".join(found) or "nothing"


def section(name: str, runs: Path, proves: float) -> str:
    """Return the section of one sweep, and write its picture."""
    folder = find_sweep(runs, name)
    front = read_front(folder)
    picture = RESULTS / "fronts" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(front_png(front))
    rows: list[dict[str, Any]] = []
    for point in front.points:
        row: dict[str, Any] = {"trial": point.trial, "step": point.step}
        for quantity in _COLUMNS:
            value = point.metrics[quantity]
            digits = ".4f" if quantity in _SHARES else "g"
            row[quantity] = "unknown" if value is None else f"{value:{digits}}"
        trial = folder.trial(point.trial)
        record = trial.step(point.step)
        for layer, factor in record.reuse_factor.items():
            # A graph of adders reuses nothing.
            if record.strategy.get(layer) != "distributed_arithmetic":
                row[f"RF {layer}"] = str(factor)
        if (point.metrics["lut"] or 0.0) <= proves:
            row["compared"] = proven(trial, point.step)
        rows.append(row)
    results = [result for trial in folder.trials() if (result := trial.result())]
    made = next(result.provenance for result in results if result.provenance)
    versions = ", ".join(f"{package} {version}" for package, version in made.packages.items())
    spec, seconds = folder.spec(), sum(result.seconds for result in results)
    reference = front.view.reference_point or {}
    beyond = ", ".join(f"`{quantity}` {value:.6g}" for quantity, value in reference.items())
    columns = ["trial", "step", *_COLUMNS]
    columns += sorted({column for row in rows for column in row} - set(columns))
    return f"""## {name}

{front.counts.complete} trials, {front.counts.failed} failed, {seconds:.0f} seconds of trials on \
{made.machine}, one thread each; sampler seed {spec.sampler.seed}, trial seed {spec.seed}; \
Python {made.python}, {versions}.
Hypervolume {front.hypervolume:.6g} beyond {beyond}.

![front of {name}](fronts/{name}.png)

{table(rows, columns)}
"""


def sections(page: str) -> dict[str, str]:
    """Return the sections of a page, by the names of their sweeps."""
    _, *parts = re.split(r"^## (\S+)\n", page, flags=re.MULTILINE)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: f"## {name}\n{text.rstrip()}\n" for name, text in pairs}


def main() -> None:
    """Write ``docs/results/fronts.md``."""
    parser = argparse.ArgumentParser(description="the page of fronts")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument(
        "--prove", type=float, default=-1.0, help="LUTs up to which a point is exported"
    )
    arguments = parser.parse_args()
    path = RESULTS / "fronts.md"
    shown = sections(path.read_text(encoding="utf-8"))
    shown |= {name: section(name, arguments.runs, arguments.prove) for name in arguments.names}
    path.write_text(render("fronts", sections="\n".join(shown.values())), encoding="utf-8")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
