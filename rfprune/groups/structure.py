"""A structure is an integer label on every weight, in HLS order: ``label = arange(N) // run``.

=========  ==========================  ==================================================
structure  run                         what one group is
=========  ==========================  ==================================================
weight     1                           one weight (latency strategy, or unstructured methods)
dsp        RF                          the weights that one multiplier serves
bram       RF * c                      the multipliers that share whole BRAM columns
filter     n_in                        a neuron's incoming weights, or a filter
=========  ==========================  ==================================================

``c`` is `rfprune.hardware.memory.bram_word_groups`. A short last run needs no padding. hls4ml:
``backends/vivado/passes/unrolled_codegen.py`` (multiplier m serves ``[m * RF, (m + 1) * RF)``).
"""

from __future__ import annotations

from math import lcm

from rfprune.errors import SpecError
from rfprune.hardware.memory import bram_word_groups
from rfprune.network.plan import LayerPlan

__all__ = ["default_structure", "run_length"]


def default_structure(plan: LayerPlan, resources: tuple[str, ...]) -> str:
    """Return the finest structure whose removal really frees each of `resources` in this layer.

    A constant multiplier (latency) vanishes weight by weight; a memory column only with all
    multipliers that share it; a multiplier with all the weights it serves.
    """
    if plan.strategy == "latency":
        return "weight"
    return "bram" if "bram18" in resources else "dsp"


def run_length(plan: LayerPlan, structure: str) -> int:
    """Return the number of consecutive weights, in HLS order, that form one group.

    Raises:
        SpecError: a structure that the layer's strategy does not have.
    """
    weights, n_in, rf = plan.layer.n_weights, plan.layer.n_in, plan.reuse_factor
    if structure == "weight":
        return 1
    if structure == "dsp":
        return rf
    if structure == "bram":
        if plan.strategy == "latency":
            raise SpecError(
                f"{plan.name}: structure bram needs weights in memory, but strategy latency turns "
                "them into constants. Allowed here: auto, weight, dsp, filter."
            )
        return min(rf * bram_word_groups(plan.weight.width, rf), weights)
    if structure == "filter":
        # With RF > n_in a multiplier serves several neurons; groups hold whole multipliers.
        return lcm(n_in, rf) if plan.strategy != "latency" else n_in
    raise SpecError(
        f"{plan.name}: unknown structure '{structure}'. Allowed: auto, weight, dsp, bram, filter."
    )
