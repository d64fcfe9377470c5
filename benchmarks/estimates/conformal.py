"""Makes the intervals of the analytic estimator from errors on left-out sources.

``python -m benchmarks.estimates.conformal [--data DIR]`` writes
``rfprune/fpga/estimators/intervals.json``. A source is a project, or a study of generated designs.
Its errors are those of rules whose constants were fitted without it.
"""

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.estimates.fit import DEFAULT_DATA, constants_without, read_all, using
from benchmarks.estimates.reports import Reported
from rfprune.fpga.estimators.analytic import estimate_many
from rfprune.fpga.estimators.calibration import corrections
from rfprune.fpga.estimators.families import FEATURES, family, features
from rfprune.fpga.estimators.intervals import (
    INTERVALS_FILE,
    OFFSETS,
    compare,
    interval,
    population,
    scale_of,
)

LEVELS = (0.5, 0.8, 0.9)
#: Log error from which on it no longer counts how wrong a design is, for the typical error.
_WORST = 1.5
#: Fewest designs of a source of which a half is read to correct the other.
_FEWEST_DESIGNS = 12


@dataclass(frozen=True, eq=False)
class Facts:
    """What the intervals look at of one design."""

    family: str
    features: dict[str, float]


@dataclass(frozen=True)
class Error:
    """One quantity of one report, predicted by rules that were fitted without its source."""

    source: str
    design: Facts
    quantity: str
    predicted: float
    truth: float
    log: float


def source_of(report: Reported) -> str:
    """Return the source: reports of one project are one, wherever they stand."""
    source = report.source.removeprefix("project:")
    return {"uw-acme/HLS4ML_-NeutDetector": "uw-acme/HLS4ML_NeutDetector"}.get(source, source)


def _without_weights(report: Reported) -> Reported | None:
    """Return the report as one whose weights are not known, None if they are not anyway."""
    design = report.design
    assert design is not None
    if "constant weights" not in family(design) or "unknown" in family(design):
        return None
    layers = tuple(layer.model_copy(update={"weights": None}) for layer in design.layers)
    bare = design.model_copy(update={"layers": layers})
    return Reported(report.row, bare, "", report.targets, report.assumed)


def left_out_errors(reports: Sequence[Reported]) -> list[Error]:
    """Return the errors on every whole design, its source left out of all fits.

    Designs whose weights are known count a second time as ones whose weights are not.
    """
    groups: dict[str, list[Reported]] = defaultdict(list)
    for report in reports:
        if report.design is not None and "kernel" not in report.row:
            groups[source_of(report)].append(report)
    errors: list[Error] = []
    for source, own in groups.items():
        rows = [*own, *(bare for r in own if (bare := _without_weights(r)) is not None)]
        designs = [r.design for r in rows if r.design is not None]
        others = [r for r in reports if r.design is not None and source_of(r) != source]
        with using(constants_without(others, [r for r in reports if source_of(r) == source])):
            table = estimate_many(designs)
        columns = {
            **table.total,
            "latency_cycles": table.latency_cycles,
            "ii_cycles": table.ii_cycles,
            "hls_clock_ns": table.reachable_ns,
        }
        for i, (report, design) in enumerate(zip(rows, designs, strict=True)):
            facts = Facts(family(design), features(design))
            for quantity, truth in report.targets.items():
                value, offset = float(columns[quantity][i]), OFFSETS[quantity]
                log = abs(math.log((truth + offset) / (value + offset)))
                errors.append(Error(source, facts, quantity, value, truth, log))
    return errors


class Sources:
    """Errors summed up by source and family, so that leaving sources out costs nothing.

    Attributes:
        ranges: (family, source) -> feature -> (least, most).
        means: quantity -> (family, source) -> mean log error, each at most `_WORST`.
        rows: quantity -> source -> its errors.
    """

    def __init__(self, errors: Sequence[Error]) -> None:
        found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        logs: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
        self.rows: dict[str, dict[str, list[Error]]] = defaultdict(lambda: defaultdict(list))
        for error in errors:
            key = error.design.family, error.source
            found[key].append(error.design.features)
            logs[error.quantity][key].append(error.log)
            self.rows[error.quantity][error.source].append(error)
        self.ranges = {
            key: {name: (min(x[name] for x in own), max(x[name] for x in own)) for name in FEATURES}
            for key, own in found.items()
        }
        self.means = {
            quantity: {key: float(np.minimum(own, _WORST).mean()) for key, own in groups.items()}
            for quantity, groups in logs.items()
        }

    def known(self, *out: str) -> dict[str, Any]:
        """Return for each family its sources but `out`, and the range of their features."""
        table: dict[str, Any] = {}
        for (name, source), own in sorted(self.ranges.items()):
            if source in out:
                continue
            row = table.setdefault(name, {"sources": 0, "features": {}})
            row["sources"] += 1
            for feature, (least, most) in own.items():
                low, high = row["features"].get(feature, (least, most))
                row["features"][feature] = [min(low, least), max(high, most)]
        return table

    def scales(self, quantity: str, *out: str) -> dict[str, Any]:
        """Return the mean error of all sources but `out`, and per family their sum and number."""
        kept = {k: mean for k, mean in self.means[quantity].items() if k[1] not in out}
        families: dict[str, Any] = {}
        for (name, _), mean in kept.items():
            row = families.setdefault(name, {"sum": 0.0, "sources": 0})
            row["sum"] = round(row["sum"] + mean, 5)
            row["sources"] += 1
        every = round(float(np.mean(list(kept.values()))), 5) if kept else 0.0
        return {"all": every, "families": families}

    def scores(self, quantity: str, *out: str) -> tuple[list[float], list[str]]:
        """Return the scores of all reports but those of `out`, and their sources."""
        scores, owners = [], []
        for source, own in self.rows[quantity].items():
            if source in out:
                continue
            elsewhere, known = self.scales(quantity, source, *out), self.known(source, *out)
            for error in own:
                name = error.design.family
                alike = compare(name, error.design.features, {population(name): {"known": known}})
                scores.append(error.log / scale_of(elsewhere, alike))
                owners.append(source)
        return scores, owners

    def table(self, *out: str) -> dict[str, Any]:
        """Return the table of intervals, made without the sources `out`."""
        table: dict[str, Any] = {"known": self.known(*out), "quantities": {}}
        for quantity, sources in sorted(self.rows.items()):
            if len(set(sources) - set(out)) < 3:
                continue
            scores, owners = self.scores(quantity, *out)
            table["quantities"][quantity] = {
                **self.scales(quantity, *out),
                "scores": {f"{x:g}": round(quantile(scores, owners, x), 4) for x in LEVELS},
                "sources": len(set(owners)),
                "rows": len(scores),
            }
        return table


def _exponential(means: Sequence[float], kept: int, level: float) -> float:
    """Return what a new one stays below with probability `level`, if all are exponential.

    Args:
        means: of the sources, ascending.
        kept: how many of them are looked at; of the others only that they are larger (Type II
            censoring), so that one odd source does not decide.
        level: between 0 and 1.
    """
    mean = (sum(means[:kept]) + (len(means) - kept) * means[kept - 1]) / kept
    return mean * kept * ((1 - level) ** (-1 / kept) - 1)


def quantile(scores: Sequence[float], owners: Sequence[str], level: float) -> float:
    """Return the score that a share `level` of new sources stays below; all sources weigh the same.

    A new source is as likely to fall into each of the K + 1 gaps that K sources leave, so that
    their plain quantile holds too little: 82 % of new sources instead of 90 with ten of them, 86
    with six or thirteen. The one at ``level (K + 1) / K`` holds its share (Lee, Barber, Willett
    2023) and is taken where more than one source lies above. Else it would be the largest score of
    all, or there is none, and one odd source alone would decide. There, a new score is predicted
    from the mean of the others as if they were exponential, once with all of them and once with the
    largest cut off: the smaller of the two, and no less than the plain quantile. With 6 to 13
    sources of normal, exponential, log-normal and Student scores this holds 88 to 95 %.
    """
    counts = Counter(owners)
    number = len(counts)
    order = np.argsort(scores)
    below = np.cumsum([1 / counts[owners[i]] / number for i in order])
    corrected = level * (number + 1) / number
    enough = corrected <= 1 - 1 / number
    chosen = int(np.argmax(below >= (corrected if enough else level) - 1e-9))
    found = float(np.asarray(scores)[order][chosen])
    if enough or number == 1:
        return found
    sums: dict[str, float] = defaultdict(float)
    for score, owner in zip(scores, owners, strict=True):
        sums[owner] += score / counts[owner]
    means = sorted(sums.values())
    return max(found, min(_exponential(means, kept, level) for kept in (number, number - 1)))


def populations(errors: Sequence[Error]) -> dict[str, Sources]:
    """Return the errors on designs whose weights are known, and on those whose are not."""
    groups: dict[str, list[Error]] = {"known": [], "unknown": []}
    for error in errors:
        groups[population(error.design.family)].append(error)
    return {name: Sources(own) for name, own in groups.items()}


def tables(errors: Sequence[Error]) -> dict[str, Any]:
    """Return what ``intervals.json`` holds."""
    return {name: sums.table() for name, sums in populations(errors).items()}


def coverage(errors: Sequence[Error], name: str = "known") -> list[dict[str, Any]]:
    """Return how often intervals hold the truth, each source judged by intervals without it.

    Args:
        errors: on left-out sources.
        name: whether weights are ``known`` or ``unknown``.
    """
    groups = populations(errors)
    sums = groups[name]
    held: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for source in sorted({source for own in sums.rows.values() for source in own}):
        tables = {kind: other.table(source) for kind, other in groups.items()}
        for quantity in tables[name]["quantities"]:
            for error in sums.rows[quantity].get(source, ()):
                alike = compare(error.design.family, error.design.features, tables)
                pairs = [
                    interval(quantity, error.predicted, alike, x, tables, False) for x in LEVELS
                ]
                hits = [
                    float(math.floor(pair[0]) <= error.truth <= math.ceil(pair[1]))
                    for pair in pairs
                    if pair is not None
                ]
                low, high = pairs[-1] or (0.0, 0.0)
                offset = OFFSETS[quantity]
                width = (high + offset) / (low + offset)
                above = (high + offset) / (error.predicted + offset)
                held[quantity][source].append((*hits, width, above))
    rows = []
    for quantity, sources in sorted(held.items()):
        every = np.array([row for own in sources.values() for row in own])
        means = np.array([np.mean(own, axis=0) for own in sources.values()])
        row: dict[str, Any] = {"quantity": quantity, "n": len(every), "sources": len(sources)}
        for i, level in enumerate(LEVELS):
            row[f"{100 * level:g} %: of rows"] = 100 * float(every[:, i].mean())
            row[f"{100 * level:g} %: of sources"] = 100 * float(means[:, i].mean())
        for i, what in ((-2, "width"), (-1, "high / value")):
            row[f"median {what}, rows"] = float(np.median(every[:, i]))
            row[f"median {what}, sources"] = float(np.median(means[:, i]))
        rows.append(row)
    return rows


def widths(tables: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return how wide the 90 % interval of each family is, as high over low.

    Args:
        tables: what ``intervals.json`` holds.
        name: whether weights are ``known`` or ``unknown``.
    """
    rows = []
    large = 1e6
    for kind, known in tables[name]["known"].items():
        row: dict[str, Any] = {"family": kind, "sources": known["sources"]}
        middle = {feature: math.sqrt(a * b) for feature, (a, b) in known["features"].items()}
        alike = compare(kind, middle, tables)
        for quantity, found in tables[name]["quantities"].items():
            pair = interval(quantity, large, alike, table=tables, useful=False)
            if kind in found["families"] and pair is not None:
                # Of so large a value that offsets for small counts play no part.
                row[quantity] = pair[1] / max(pair[0], 1.0)
        rows.append(row)
    return rows


#: What is asked of whole projects whose source is left out: share within 25 %.
WITHIN = {
    "hls_dsp": 95,
    "hls_bram18": 85,
    "hls_lut": 75,
    "hls_ff": 60,
    "latency_cycles": 75,
    "ii_cycles": 85,
    "synthesis_dsp": 90,
    "synthesis_bram18": 60,
    "synthesis_lut": 65,
    "synthesis_ff": 60,
}


def within(errors: Sequence[Error], sources: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return how many whole projects are within 25 %, their source left out.

    Args:
        errors: on left-out sources.
        sources: only these; None = all projects.
    """
    rows = []
    for quantity, asked in WITHIN.items():
        own = [
            error
            for error in errors
            if error.quantity == quantity
            and "/" in error.source
            and population(error.design.family) == "known"
            and (sources is None or error.source in sources)
        ]
        if not own:
            continue
        near = [abs(round(e.predicted) - e.truth) <= 0.25 * e.truth for e in own]
        by_source = defaultdict(list)
        for error, hit in zip(own, near, strict=True):
            by_source[error.source].append(hit)
        rows.append(
            {
                "quantity": quantity,
                "n": len(own),
                "sources": len(by_source),
                "asked, %": asked,
                "within 25 %, % of designs": 100 * float(np.mean(near)),
                "mean over sources, %": 100
                * float(np.mean([np.mean(x) for x in by_source.values()])),
                "median error, %": 100
                * float(np.median([abs(e.predicted - e.truth) / max(e.truth, 1) for e in own])),
            }
        )
    return rows


def calibrated(errors: Sequence[Error]) -> list[dict[str, Any]]:
    """Return what `rfprune calibrate` on half of a source's rows does to its other half.

    Every second design of each source with at least twelve is read; median log errors of the rest.
    """
    rows = []
    groups: dict[str, list[Error]] = defaultdict(list)
    for error in errors:
        if population(error.design.family) == "known":
            groups[error.source].append(error)
    for source, own in groups.items():
        designs = list(dict.fromkeys(error.design for error in own))
        if len(designs) < _FEWEST_DESIGNS:
            continue
        read = set(designs[::2])
        half = [
            {"family": e.design.family, "ratios": {e.quantity: [e.predicted, e.truth]}}
            for e in own
            if e.design in read
        ]
        before: dict[str, list[float]] = defaultdict(list)
        after: dict[str, list[float]] = defaultdict(list)
        found = {name: corrections(half, name) for name in {e.design.family for e in own}}
        for e in own:
            if e.design not in read:
                factor = found[e.design.family].get(e.quantity, (1.0, 0))[0]
                offset = OFFSETS[e.quantity]
                log = math.log((e.truth + offset) / ((e.predicted + offset) * factor))
                before[e.quantity].append(e.log)
                after[e.quantity].append(abs(log))
        rows += [
            {
                "source": source,
                "quantity": quantity,
                "n": len(before[quantity]),
                "median error before, %": 100 * math.expm1(float(np.median(before[quantity]))),
                "after, %": 100 * math.expm1(float(np.median(after[quantity]))),
            }
            for quantity in sorted(before)
            if quantity != "hls_clock_ns"
        ]
    return rows


def measure(data: Path, new: Collection[str]) -> dict[str, Any]:
    """Return everything that the page shows of left-out sources."""
    errors = left_out_errors(read_all(data))
    table = tables(errors)
    return {
        "coverage": coverage(errors, "known"),
        "coverage_unknown": coverage(errors, "unknown"),
        "widths": [*widths(table, "known"), *widths(table, "unknown")],
        "within": within(errors),
        "within_new": within(errors, new),
        "calibrated": calibrated(errors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="of the reports")
    parser.add_argument("--check", action="store_true", help="print coverage, write nothing")
    given = parser.parse_args()
    errors = left_out_errors(read_all(given.data))
    for name in ("known", "unknown"):
        for row in coverage(errors, name):
            print(name, {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()})
    if not given.check:
        text = json.dumps(tables(errors), indent=1)
        INTERVALS_FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
