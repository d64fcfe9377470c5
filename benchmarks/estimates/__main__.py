"""The analytic estimator against real synthesis reports: the command, its page and its plots."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.drawing import PALETTE, picture
from benchmarks.estimates.beside_rule4ml import RULE4ML
from benchmarks.estimates.conformal import LEVELS
from benchmarks.estimates.conformal import measure as left_out_sources
from benchmarks.estimates.reports import read_designs
from benchmarks.estimates.routed import check as check_routed
from benchmarks.estimates.score import Pair, measure, pairs_of
from benchmarks.report import Study, render, sentence, table
from rfprune.fpga.estimators.constants import constants

#: Sources of the designs that came after the rules: ``hls_reports_more``.
_NEW = (
    "uw-acme/HLS4ML_NeutDetector",
    "Berk-Bilgin/ML-fpga",
    "alex-yang-upenn/accelerator_wrapper",
    "CestMerNeil/FPGA_Accelerator4NN_Inference",
)
#: Quantities with fewer rows are not drawn.
_FEWEST_ROWS = 20
#: Name of a case, its key, and the microseconds per design that are asked for.
_COSTS = (
    ("a design alone", "seconds_single", 2000),
    ("in a batch of 1,000", "seconds_in_batch_of_1000", 50),
)
_RESOURCES, _CYCLES = ("dsp", "bram18", "lut", "ff"), ("latency_cycles", "ii_cycles")


def page(result: dict[str, Any]) -> str:
    """Return the page of one measured `result`."""
    fitted = [
        {
            "rule": name,
            "constants": ", ".join(f"{term} {value:.4g}" for term, value in row["terms"].items()),
            "rows": row["rows"],
            "groups": row["groups"],
            "median %": 100 * row["median_error"],
            "left out median %": 100 * row["left_out_median_error"],
            "left out mean %": 100 * row["left_out_mean_error"],
            "source": row["source"],
        }
        for name, row in constants().items()
    ]
    beside = json.loads(RULE4ML.read_text(encoding="utf-8"))
    seconds = beside["seconds_per_design"]
    return render(
        "estimates",
        targets=table(result["targets"]),
        **{
            name: table(result.get("left_out_sources", {}).get(name, ()))
            for name in (
                *("coverage", "coverage_unknown", "widths", "within", "within_new"),
                "calibrated",
            )
        },
        routed=table(
            {"quantity": name} | row
            for name, row in result.get("routed", {}).items()
            if isinstance(row, dict)
        ),
        constants=table(fitted),
        rule4ml=table(beside["rows"]),
        rule4ml_designs=str(beside["designs"]),
        timed=str(beside["timed_designs"]),
        rule4ml_seconds=f"{seconds['rule4ml']:.2f}",
        seconds=f"{seconds['analytic']:.5f}",
        scores=table(result["scores"]),
        designs=str(result["rows"]),
        left_out=table({"n": n, "why": why} for why, n in result["left_out"].items()),
        assumed=table({"n": n, "what": what} for what, n in result["assumed"].items()),
        cost=table(
            {"case": name, "microseconds": 1e6 * result["cost"][key], "at most": most}
            for name, key, most in _COSTS
            if key in result["cost"]
        ),
        facts=sentence(result["facts"]) if "facts" in result else "",
    )


def draw(pairs: list[Pair], folder: Path) -> None:
    """Write one PNG per family of designs into `folder`."""
    hls, synthesis = ([f"{kind}_{q}" for q in _RESOURCES] for kind in ("hls", "synthesis"))
    projects = [pair for pair in pairs if pair.report.source.startswith("project:")]
    single = [pair for pair in pairs if not pair.report.source.startswith("project:")]
    for name, title, chosen, quantities in (
        ("dense_hls", "Dense layers, C synthesis", single, (*hls, *_CYCLES)),
        ("dense_synthesis", "Dense networks, logic synthesis", single, synthesis),
        ("projects_hls", "Whole projects, C synthesis", projects, (*hls, *_CYCLES)),
    ):
        by_quantity: dict[str, dict[str, list[Pair]]] = {}
        for pair in chosen:
            if pair.quantity in quantities:
                label = f"{pair.report.source.split(':')[-1]}, {pair.report.strategy}"
                by_quantity.setdefault(pair.quantity, {}).setdefault(label, []).append(pair)
        shown = [quantity for quantity in quantities if quantity in by_quantity]
        if not shown:
            continue
        labels = sorted({label for groups in by_quantity.values() for label in groups})
        colors = {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}
        columns = 3 if len(shown) > 4 else 2
        with picture(folder / f"{name}.png", len(shown), columns, (3.6, 3.8)) as panels:
            for axis, quantity in zip(panels, shown, strict=True):
                for label, own in sorted(by_quantity[quantity].items()):
                    x, y = [p.truth for p in own], [p.predicted for p in own]
                    axis.scatter(x, y, s=12, alpha=0.6, color=colors[label], label=label, lw=0)
                values = [p for own in by_quantity[quantity].values() for p in own]
                high = 1.3 * max(max(p.truth, p.predicted) for p in values) + 1
                low = min(min(p.truth, p.predicted) for p in values)
                # From a whole power of ten on, so that at least one is marked.
                low = 10.0 ** math.floor(math.log10(low)) if low >= 10 else 0.0
                axis.plot([low, high], [low, high], color="#999999", linewidth=0.8, zorder=0)
                axis.set_xscale("symlog", linthresh=1)
                axis.set_yscale("symlog", linthresh=1)
                axis.set(xlim=(low, high), ylim=(low, high))
                axis.set(title=quantity, xlabel="reported", ylabel="predicted")
            figure = panels[0].figure
            found = [axis.get_legend_handles_labels() for axis in panels]
            handles = {text: h for hs, texts in found for h, text in zip(hs, texts, strict=True)}
            where = {"loc": "outside lower center", "ncols": 2, "fontsize": 7}
            figure.legend(handles.values(), handles, **where)
            figure.suptitle(title)


def draw_held(left_out: dict[str, Any], path: Path) -> None:
    """Write how many truths the intervals of each level hold, over sources, as a PNG."""
    titles = {"coverage": "Weights known", "coverage_unknown": "Weights not known"}
    asked = [100 * level for level in LEVELS]
    with picture(path, len(titles), 2, (4.8, 4.8)) as panels:
        for axis, (name, title) in zip(panels, titles.items(), strict=True):
            axis.plot([45, 100], [45, 100], color="#999999", linewidth=0.8, zorder=0)
            rows = [row for row in left_out[name] if row["n"] >= _FEWEST_ROWS]
            for i, row in enumerate(rows):
                held = [row[f"{level:g} %: of sources"] for level in asked]
                style = {"marker": "o" if i < len(PALETTE) else "s", "markersize": 4}
                axis.plot(
                    asked, held, color=PALETTE[i % len(PALETTE)], label=row["quantity"], **style
                )
            axis.set(title=title, xlabel="asked, %", ylabel="held, % of left-out sources")
            axis.set(xlim=(45, 95), ylim=(35, 102))
            axis.legend(fontsize=7, loc="lower right")


def draw_all(result: dict[str, Any], folder: Path) -> None:
    """Write every picture of the page into `folder`."""
    draw(pairs_of(read_designs(Path(result["file"]))), folder)
    draw_held(result["left_out_sources"], folder / "intervals.png")


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return the errors; reports of single modules are looked for beside those of the designs."""
    layers = given.layers or given.designs.with_name("layers.parquet")
    found = measure(given.designs, layers if given.layers or layers.is_file() else None)
    data = given.designs.parent.parent
    return {
        **found,
        "left_out_sources": left_out_sources(data, _NEW),
        "routed": check_routed(data / "routed_da" / "designs.csv"),
        "file": str(given.designs),
    }


if __name__ == "__main__":
    Study(
        "estimates",
        "the analytic estimator against real synthesis reports",
        measured,
        page,
        draw_all,
        packages=("rfprune", "numpy", "pandas"),
        options={
            "--designs": (Path, ..., "reports, a Parquet file"),
            "--layers": (Path, None, "reports of modules; beside --designs if not given"),
        },
    ).run()
