"""A structure is an integer label on every weight of a layer, in HLS order.

=========  ==================  ===========================================================
structure  weights in a group  what one group is
=========  ==================  ===========================================================
weight     1                   one weight (latency strategy, or unstructured methods)
dsp        RF                  the weights that one multiplier serves
bram       RF * c              the multipliers that share whole BRAM columns
filter     n_in                a neuron's incoming weights, or a filter
block      rows * columns      a rectangle of the (n_out, n_in) weight matrix
=========  ==================  ===========================================================

All but the last are runs, ``label = arange(N) // run``; ``c`` is
`rfprune.hardware.memory.multipliers_per_word`. A short last group needs no padding. Where a
multiplier serves several weights, filters and blocks are made as large as holds whole multipliers.
hls4ml: ``backends/vivado/passes/unrolled_codegen.py`` (multiplier m serves
``[m * RF, (m + 1) * RF)``).
"""

from __future__ import annotations

from math import lcm

import numpy as np

from rfprune.core.arrays import IntArray
from rfprune.errors import SpecError
from rfprune.fpga.layers.plan import LayerPlan
from rfprune.hardware.memory import multipliers_per_word

__all__ = ["Block", "default_structure", "group_labels", "group_size", "whole_block"]

#: Rows (outputs) and columns (products per output) of a block.
Block = tuple[int, int]


def default_structure(plan: LayerPlan, resources: tuple[str, ...]) -> str:
    """Return the finest structure whose removal really frees each of `resources` in this layer.

    A constant multiplier (latency) vanishes weight by weight; a memory column only with all
    multipliers that share it; a multiplier with all the weights it serves.
    """
    if plan.strategy == "latency":
        return "weight"
    return "bram" if "bram18" in resources else "dsp"


def group_labels(plan: LayerPlan, structure: str, block: Block | None = None) -> IntArray:
    """Return (N,): the group of each weight in HLS order, from 0.

    Args:
        plan: the layer.
        structure: weight, dsp, bram, filter or block.
        block: rows and columns, for structure block.

    Raises:
        SpecError: a structure that the layer's strategy does not have, or a block without a shape.
    """
    # In HLS order all weights of an output follow each other: row = position // n_in.
    position = np.arange(plan.layer.n_weights, dtype=np.int64)
    if structure != "block":
        return position // group_size(plan, structure)
    rows, columns = _block(plan, block)
    n_in = plan.layer.n_in
    across = -(-n_in // columns)
    return (position // n_in // rows) * across + position % n_in // columns


def group_size(plan: LayerPlan, structure: str, block: Block | None = None) -> int:
    """Return the number of weights in a full group. Arguments and errors as `group_labels`."""
    rf = plan.reuse_factor
    if structure == "weight":
        return 1
    if structure == "dsp":
        return rf
    if structure == "bram":
        if plan.strategy == "latency":
            raise SpecError(
                f"{plan.name}: structure bram needs weights in memory, but strategy latency turns "
                "them into constants. Allowed here: auto, weight, dsp, filter, block."
            )
        # A small layer may not fill a single set of words.
        return min(rf * multipliers_per_word(plan.weight.width, rf), plan.layer.n_weights)
    if structure == "filter":
        # With RF > n_in a multiplier serves several neurons; groups hold whole multipliers.
        return lcm(plan.layer.n_in, rf) if plan.strategy != "latency" else plan.layer.n_in
    if structure == "block":
        rows, columns = _block(plan, block)
        return rows * columns
    raise SpecError(
        f"{plan.name}: unknown structure '{structure}'. "
        "Allowed: auto, weight, dsp, bram, filter, block."
    )


def _block(plan: LayerPlan, block: Block | None) -> Block:
    if block is None:
        raise SpecError(
            f"{plan.name}: structure block needs a shape, e.g. prune.block: [4, 8] for 4 outputs "
            "by 8 inputs."
        )
    return whole_block(plan, block)


def whole_block(plan: LayerPlan, block: Block) -> Block:
    """Return the least block, at least as large as `block`, that holds whole multipliers.

    A multiplier serves RF columns of one row or, with RF > n_in, ``RF / n_in`` whole rows. Blocks
    that cut through multipliers would free none of those they share with a neighbour.
    """
    rows, columns = block
    n_in, n_out, rf = plan.layer.n_in, plan.layer.n_out, plan.reuse_factor
    if plan.strategy != "latency":
        # A multiplier serves RF products of one output, or all of RF / n_in outputs where RF is
        # larger.
        wide, tall = min(rf, n_in), max(1, rf // n_in)
        columns = -(-columns // wide) * wide
        rows = -(-rows // tall) * tall
        columns = n_in if tall > 1 else columns
    return min(rows, n_out), min(columns, n_in)
