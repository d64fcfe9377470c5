"""The committed page of results: tables from a run, with what they mean."""

from __future__ import annotations

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
on these rows (widths from which a product gets a DSP, cycles to fill a shared multiplier, addends
from which an adder tree needs a stage, cycles of softmax and per pixel, the FIFO depth that needs a
block RAM). Expect larger errors on tools and kernels that are not in this data. One project
(pominiq/DNNonSilicon) is left out because its file lacks the convolutions of the network.

`hls_*` is the C-synthesis report, `synthesis_*` the result of logic synthesis. They are two
different numbers, about a factor of two apart in LUTs, and an estimate always says which one it is.

## Targets
"""

_WHY = """
Where a target is not met:

* **DSP of Latency layers at reuse factor 1, 16 bits and more.** The count of distinct constants
  with three or more digits is exact for the 16-bit layers of projects; for single untrained layers
  it is up to 10 % too high at 8 bits and about 1 % or less from 10 bits on, since HLS builds a few
  narrow constants (4-bit ones such as 11) from look-up tables; counts do not show which.
* **Mean LUT error of Latency layers.** The median is small; the mean comes from ten layers of two
  strongly pruned projects, in which most neurons are dead and HLS removes what feeds only them.
  Counts per layer do not show that.
* **FF of whole projects, and DSP, BRAM and FF of projects after logic synthesis.** Six projects
  have a synthesis report: three recurrent networks, two CNNs on a stream and one held in registers.
  For the CNNs that is too few to fit; their estimate is the C-synthesis one divided by the median
  ratio. One recurrent network of 4-bit types has 123 DSPs where the rule says none.
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
        "`T / RF` multipliers (live ones when Unrolled); 0 if weight and data widths sum below 22 "
        "bits (C synthesis) or 24 (logic synthesis); more than one block beyond the ports",
    ),
    (
        "DSP, Latency",
        "distinct constants per input with at least 3 non-adjacent-form digits; at most "
        "`ceil(T / RF) - floor(zeros / RF)` when RF > 1",
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
    ("II", "`RF`; Latency: uses per multiplier + 2, at most RF"),
    ("latency, Resource", "`sum RF + 2 L - 1` for L layers (best case)"),
    ("latency, images on a stream", "pixels x (RF + 5), slowest layer"),
)

_CONSTANTS = """## Fitted constants

`python -m benchmarks.fit_estimates` refits them. Errors are relative; "left out" is grouped
cross-validation by shape (generated designs) and by project. Flip-flops of Latency layers, ReLU and
pooling have few sources: left out, the one project whose multipliers are bound by a directive is
predicted without any constant for it, which is the 100 % there.
"""

_OTHERS = """## Beside rule4ml

rule4ml 0.2.0 (shipped model) on the same open rows, measured once apart from this run: dense
networks after synthesis MAPE DSP 100 %, BRAM 89 %, LUT 12.8 %, FF 28 %, cycles 11 %; single
Resource layers (45 sampled, outside its domain) DSP 100 %, BRAM 232 %, LUT 37 %, FF 1646 %, cycles
83 %; 1 to 5 seconds per configuration.
"""


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
        "## Errors per source\n",
        "Errors in percent; `exact` is the share of exactly right values.\n",
        markdown(result["scores"]),
        f"## Left out\n\n{result['rows']} designs were read; of these could not be used:\n",
        markdown(missing),
        "## Cost per design\n\nReading the layers included, on one core.\n",
        markdown(cost),
    ]
    return "\n".join(parts)
