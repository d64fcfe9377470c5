"""The adder graph of a network in its numbers, by da4ml (extra ``da4ml``; arXiv 2507.04535)."""

from __future__ import annotations

import numpy as np
from torch import nn

from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.numbers import CircuitNumbers, constants
from rfprune.fpga.estimators.da4ml import AdderGraph, check_installed, traced_graph
from rfprune.hardware.precision import FixedType

__all__ = ["build_graph", "mapped_lut"]

#: Yosys' LUTs (synth_xilinx for UltraScale+) over da4ml's count: median of networks of the method
#: widths from 500 to 7,500 LUT (docs/results/widths.md). da4ml counts no carry above a constant.
_MAPPED = 1.07


def mapped_lut(graph: AdderGraph) -> int:
    """Return the LUTs that Yosys needs for an adder graph, within a few percent."""
    return round(_MAPPED * graph.lut)


def build_graph(chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> AdderGraph:
    """Return the graph of every layer, each activation with bits of its own.

    Raises:
        MissingExtraError: da4ml is not installed.
    """
    check_installed()
    from da4ml.trace import FixedVariableArrayInput
    from da4ml.trace.ops import quantize, relu

    start = FixedVariableArrayInput((chain.layers[0].n_in,))
    left = {-1: start}
    for index, (layer, weight, bias) in enumerate(constants(chain, model, numbers)):
        integer = numbers.integer[index].numpy().astype(int)
        fraction = numbers.fraction[index].numpy().astype(int)
        # What has no bits is zero: its column falls out of the product.
        empty = integer + fraction + int(layer.signed) <= 0
        integer, fraction = np.where(empty, 0, integer), np.where(empty, 0, fraction)
        x = left[layer.source]
        if not layer.signed:
            x = relu(x, integer, fraction, "TRN")
        else:
            sign = np.full(layer.n_in, int(layer.signed))
            x = quantize(x, sign, integer, fraction, "WRAP", "TRN")
        x = x * (~empty).astype(np.float64)
        left[index] = x @ np.ascontiguousarray((weight * ~empty).T) + bias
    ends = [relu(left[i]) if chain.layers[i].relu else left[i] for i in chain.outputs]
    end = ends[0] if len(ends) == 1 else np.concatenate(ends)
    read = chain.readers(-1)
    whole = max(int(numbers.integer[i].max()) for i in read) + 1
    behind = max(0, *(int(numbers.fraction[i].max()) for i in read))
    return traced_graph(start, end, FixedType(min(max(whole + behind, 2), 60), whole))
