"""Writes the page of fronts: ``python -m benchmarks.fronts --runs runs NAME...``.

The sweeps themselves are run by ``rfprune sweep``; this page shows what their run folders hold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.report import RESULTS
from rfprune.front import Front, front_png, read_front
from rfprune.runs import Provenance, SweepFolder, find_sweep

_COLUMNS = ("val_accuracy", "accuracy", "dsp", "bram18", "lut", "latency_cycles", "sparsity")
_INTRO = """# Fronts of the sweeps that come with rfprune

Made by `rfprune sweep NAME` and then `python -m benchmarks.fronts NAME...`. Every row is an
accepted pruning step: a network with checkpoint and masks whose multipliers were counted in the
code that hls4ml generates. `val_accuracy` decides, `accuracy` (test rows) is only reported; both
in float. `lut` and `ff` are estimates for logic synthesis, never measured here.
"""


def provenance(folder: SweepFolder) -> tuple[Provenance, float]:
    """Return the provenance of the first finished trial, and the seconds of all of them."""
    results = [result for trial in folder.trials() if (result := trial.result())]
    first = next(result.provenance for result in results if result.provenance)
    return first, sum(result.seconds for result in results)


def rows(front: Front) -> list[str]:
    """Return the front as a Markdown table."""
    factors = sorted({layer for c in front.points for layer in _factors(front, c.trial, c.step)})
    head = ["trial", "step", *_COLUMNS, *(f"RF {name}" for name in factors)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for point in front.points:
        values = [str(point.trial), str(point.step)]
        for name in _COLUMNS:
            value = point.metrics[name]
            share = "accuracy" in name or name == "sparsity"
            values.append("unknown" if value is None else f"{value:.4f}" if share else f"{value:g}")
        own = _factors(front, point.trial, point.step)
        values += [str(own[name]) for name in factors]
        lines.append("| " + " | ".join(values) + " |")
    return lines


def _factors(front: Front, trial: int, step: int) -> dict[str, int]:
    return front.view.folder.trial(trial).step(step).reuse_factor


def section(name: str, runs: Path) -> str:
    """Return the section of one sweep, and write its picture."""
    folder = find_sweep(runs, name)
    front = read_front(folder)
    facts, seconds = provenance(folder)
    picture = RESULTS / "fronts" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(front_png(front))
    versions = ", ".join(f"{package} {version}" for package, version in facts.packages.items())
    seeds = f"sampler seed {folder.spec().sampler.seed}, trial seed {folder.spec().seed}"
    return "\n".join(
        [
            f"## {name}",
            "",
            f"{front.counts.complete} trials, {front.counts.failed} failed, {seconds:.0f} seconds "
            f"of trials on {facts.machine}, one thread each; {seeds}; Python {facts.python}, "
            f"{versions}.",
            f"Hypervolume {front.hypervolume:.6g} beyond {dict(front.view.reference_point or {})}.",
            "",
            f"![front of {name}](fronts/{name}.png)",
            "",
            *rows(front),
            "",
        ]
    )


def main() -> None:
    """Write ``docs/results/fronts.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    sections = [section(name, arguments.runs) for name in arguments.names]
    (RESULTS / "fronts.md").write_text("\n".join([_INTRO, *sections]), encoding="utf-8")
    print(f"written: {RESULTS / 'fronts.md'}")


if __name__ == "__main__":
    main()
