"""The committed page of results: tables from a run, with what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rfprune.estimate.constants import constants

__all__ = ["page"]

_HEAD = """# Estimates against real synthesis reports

Made by `python -m benchmarks.estimates --designs ../shared/data/hls_reports/designs.parquet
--page docs/results/estimates.md`. The reports are published results of other people's hls4ml
projects (Vivado HLS 2018.2 to Vitis HLS 2024.1); nothing was synthesised here. Fitted constants
were fitted on these same rows, so the tables below are in-sample; the errors with one shape or
project left out stand in the table of constants. Rules without constants (DSP, block RAM, II,
latency of Resource layers) were found on these rows too.

Not covered by the left-out errors: which terms a rule has, and a few numbers that were set by hand
on these rows (cycles to fill a shared multiplier, addends from which an adder tree needs a stage,
cycles of softmax and per pixel, LUTs per FIFO, per bit of tables and of recurrent cells, the bits
from which a FIFO needs a block RAM). Expect larger errors on tools and kernels that are not in this
data. One project (pominiq/DNNonSilicon) is left out because its file lacks the convolutions of the
network.

`hls_*` is the C-synthesis report, `synthesis_*` the result of logic synthesis. They are two
different numbers, about a factor of two apart in LUTs, and an estimate always says which one it is.

## Targets
"""

_WHY = """
Where a target is not met:

* **DSP of Latency layers at reuse factor 1, 16 bits and more.** HLS builds the positive four-bit
  constants with three digits, +11 and +13, from look-up tables. The rule is exact where the weights
  are known; the file holds counts, in which these two do not stand, so that the estimator takes the
  likeliest number of them: a code near 0 occurs as often as an average power of two, and not at all
  where small weights were pruned away. A guess is seldom exact: 58 % of the 26 layers are, 65 %
  would be if none were assumed. The mean error is 0.2 % instead of 1.6 %, and over all 48 single
  layers at reuse factor 1, the Resource ones included, 0.2 % instead of 2.9 % (at most 1.1 %
  instead of 23 %); LUTs of the 8-bit layers are right within 1 % instead of 3 %. That the rest is
  chance shows in the sum: eight layers of 12 and 14 bits lack 18 DSPs, and 22 are expected (five
  more or less). `rfprune` counts these constants wherever it has the weights.

What to know about the rest:

* **Strongly pruned networks.** Two projects (model_3.1) were trained with a width for each weight
  and activation (HGQ). Neurons without any bits are still in the file, but HLS removes them and all
  weights from and to them. Their bias is exactly 0 on the accumulator's fine grid, so the reader
  counts at most live inputs x live outputs as weights. Without this the mean error of LUTs of
  Latency layers is 56 %. The types in the file are the widest of each layer, so that DSP of these
  layers (11 to 15 bits) stay too high. In a network of its own `rfprune` finds dead neurons by
  their weights.
* **Whole projects after logic synthesis.** Six projects have such a report: three recurrent
  networks, two CNNs on a stream and one held in registers. That is too few to fit; the last one,
  with a pooling tree over 2048 elements in 44 stages, has 1.7 times the flip-flops of the estimate.
* **Images held in registers by Vivado HLS.** One network of 8 x 8 pixels reports 735,000 LUTs, of
  which 705,000 are in two convolutions that write to a computed position; the estimate has a
  seventeenth. The one network that Vitis HLS built in this way has no such logic.
* **Resource strategy, RF <= n_in, after logic synthesis.** Only the three recurrent networks are
  there. From RF = n_in to the next factor hls4ml takes another kernel, in which outputs share
  multipliers: LUTs rise there although multipliers fall. Pruning more never costs more.
* **Weights after logic synthesis.** Vitis HLS ignores the ROM directive in hls4ml's kernels, so
  Vivado decides where weights go: look-up tables in two of three networks (the rule), block RAM in
  the rest, for reasons that the configuration does not show.

![single and double dense layers, C synthesis](estimates/dense_hls.png)
![double dense layers, logic synthesis](estimates/dense_synthesis.png)
![whole projects, C synthesis](estimates/projects_hls.png)

## Intervals of Latency designs without their weights

Without weights the cost of a Latency layer is only bounded. Share of designs and layers whose
reported value lies in the interval:
"""

_RULES = (
    (
        "DSP, Resource",
        "`T / RF` multipliers (live ones when Unrolled); none unless the wider operand has 11 bits "
        "and the narrower 5 (C synthesis) or both together 24 (logic synthesis); more than one "
        "block beyond the ports",
    ),
    (
        "DSP, Latency",
        "distinct constants per input with at least 3 non-adjacent-form digits, without +11 and "
        "+13 when RF = 1; for data below 11 bits those of at least 512; at most "
        "`ceil(T / RF) - floor(zeros / RF)` when RF > 1",
    ),
    (
        "DSP, GRU and LSTM",
        "three products per state; one where types are narrow, as `1 - z` is computed with a "
        "32-bit one (GRU)",
    ),
    (
        "DSP and block RAM, softmax",
        "one per class, block RAM after logic synthesis one per two classes and one; sigmoid and "
        "tanh: half a block RAM per element",
    ),
    (
        "FIFOs",
        "one per element (Vivado HLS) or per word of a stream, widened to a power of two (Vitis "
        "HLS); block RAM if deeper than 32 words and of 1024 bits, after logic synthesis 2048; "
        "also in io_parallel where a convolution has partitions or a layer is Resource",
    ),
    (
        "block RAM, C synthesis",
        "least count over the aspect ratios of RAMB18 for `N * w` bits x RF, plus 1 for the index "
        "table once it has 1024 bits",
    ),
    (
        "block RAM, logic synthesis, Vitis",
        "the index tables alone: `ceil(log2(RF / n_in))` bits x RF",
    ),
    ("weights, Latency", "gone if from or to a neuron that is constant or that nobody reads"),
    (
        "II",
        "`RF`; Latency: uses per multiplier + 2, at most RF; Resource with RF 1: latency + 1",
    ),
    ("latency, Resource", "`sum RF + 2 L - 1` for L layers (best case)"),
    ("latency, images on a stream", "pixels x (RF + 5), slowest layer"),
)

_CONSTANTS = """## Fitted constants

`python -m benchmarks.estimates.fit` refits them. Errors are relative; "left out" is grouped
cross-validation by shape (generated designs) and by project. Flip-flops of Latency layers, ReLU and
pooling have few sources: left out, the one project whose multipliers are bound by a directive is
predicted without any constant for it, which is the 100 % there.
"""

_OTHERS = """## Beside rule4ml

rule4ml 0.2.0 (shipped models) on the rows that it accepts (dense networks on four boards; at most
71 evenly spaced ones of each source), by `python -m benchmarks.estimates.beside_rule4ml`. It
predicts logic synthesis; rows with C-synthesis values only (`hls_*`) are outside its domain. Errors
in percent.
"""
_RULE4ML = Path("docs/results/estimates/rule4ml.json")


def _rule4ml(markdown: Any) -> str:
    """Return the committed comparison, measured apart since the package is large."""
    if not _RULE4ML.is_file():
        return "Not measured.\n"
    found = json.loads(_RULE4ML.read_text(encoding="utf-8"))
    seconds = found["seconds_per_design"]
    return (
        f"{markdown(found['rows'])}\n{found['designs']} designs; CPU seconds per "
        f"design, mean of {found['timed_designs']}: rule4ml "
        f"{seconds['rule4ml']:.2f}, analytic {seconds['analytic']:.5f}.\n"
    )


def _constant_rows() -> list[dict[str, Any]]:
    return [
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


def page(result: dict[str, Any], markdown: Any) -> str:
    """Return the page of one measured `result`; `markdown` turns rows into a table."""
    missing = [{"n": n, "why": why} for why, n in result["left_out"].items()]
    cost = [{"case": k, "microseconds": 1e6 * v} for k, v in result["cost"].items()]
    parts = [
        _HEAD,
        markdown(result["targets"]),
        _WHY,
        markdown(result["intervals"]),
        "## Rules that have no fitted constant\n",
        markdown([{"quantity": name, "rule": text} for name, text in _RULES]),
        _CONSTANTS,
        markdown(_constant_rows()),
        _OTHERS,
        _rule4ml(markdown),
        "## Errors per source\n",
        "Errors in percent; `exact` is the share of exactly right values.\n",
        markdown(result["scores"]),
        f"## Left out\n\n{result['rows']} designs were read; of these could not be used:\n",
        markdown(missing),
        "## Assumed, since the row leaves it open\n",
        markdown([{"n": n, "what": what} for what, n in result["assumed"].items()]),
        "## Cost per design\n\nCPU time, reading the layers included.\n",
        markdown(cost),
    ]
    return "\n".join(parts)
