"""What hls4ml computes in a way of its own, as modules of torch that give the same bits.

Activations that it reads from tables (``nnet_activation.h``), means that it cuts off toward zero
(``nnet_pooling.h``), constants that it rounds (``infer_precision.py``); all of version 1.3. What is
not in `OWN_ARITHMETIC` is exact in hls4ml before its output is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from rfprune.core.arrays import FloatArray
from rfprune.fpga.layers.operators import Softmax
from rfprune.fpga.layers.plan import TABLE_SIZE, TABLE_TYPE, Plan
from rfprune.fpga.layers.tracing import shape_of_node
from rfprune.fpga.softmax_tables import SoftmaxTypes, tables_of
from rfprune.hardware.precision import FixedType

__all__ = [
    "OWN_ARITHMETIC",
    "TABLES",
    "TABLE_SIZE",
    "TABLE_TYPE",
    "ActivationTable",
    "SoftmaxTables",
    "TableRow",
    "eight_bits",
    "fraction_of",
    "straight",
    "table_entries",
    "through",
]


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight(tensor: Tensor, value: Tensor) -> Tensor:
    """Return `value`; its gradient is handed to `tensor`, of the same shape, as it is."""
    found: Tensor = _Straight.apply(tensor, value)  # type: ignore[no-untyped-call]
    return found


def through(x: Tensor, kind: FixedType) -> Tensor:
    """Return `x`, of any shape, on the grid of `kind`.

    Its gradient is that of the identity (Bengio et al. 2013), and 0 where a saturating type clips.
    """
    value = kind.quantize(x.detach())
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    # Wrapping has a slope of 1 everywhere; where it clips, nothing upstream can change the output.
    kept = x if kind.saturation == "WRAP" else x.clamp(kind.min, kind.max)
    return straight(kept, value)


@dataclass(frozen=True)
class TableRow:
    """How an activation is read from its table.

    Attributes:
        function: torch's, for gradients.
        entries: of the inputs in the middle of the table, as ``init_*_table`` computes them.
        low: input of the first entry.
        high: input of the last entry, so to speak: of the one behind it.
        negative: only inputs below 0 are read from it; others are handed on.
    """

    function: Callable[[Tensor], Tensor]
    entries: Callable[[FloatArray], FloatArray]
    low: float
    high: float
    negative: bool = False


TABLES: dict[str, TableRow] = {
    "sigmoid": TableRow(torch.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -8, 8),
    "tanh": TableRow(torch.tanh, np.tanh, -4, 4),
    "softsign": TableRow(nn.functional.softsign, lambda x: x / (np.abs(x) + 1), -8, 8),
    "softplus": TableRow(nn.functional.softplus, lambda x: np.log(np.exp(x) + 1), -8, 8),
    "elu": TableRow(nn.functional.elu, lambda x: np.exp(x) - 1, 0, -8, negative=True),
}


def table_entries(row: TableRow) -> Tensor:
    """Return (TABLE_SIZE,) an activation's table: in single precision, then rounded to its type."""
    steps = np.arange(TABLE_SIZE, dtype=np.float32) / np.float32(TABLE_SIZE)
    inputs = np.float32(row.low) + np.float32(row.high - row.low) * steps
    entries = row.entries(inputs.astype(np.float64)).astype(np.float32)
    return TABLE_TYPE.quantize(torch.from_numpy(entries).double())


class ActivationTable(nn.Module):
    """An activation that hls4ml reads from a table.

    The index is the input times the entries per unit, cut off toward zero, and held within the
    table: `int` of a fixed-point number drops its fraction, whatever the sign.
    """

    table: Tensor

    def __init__(self, row: TableRow, factor: float = 1.0) -> None:
        super().__init__()
        self._row, self._factor = row, factor
        self.register_buffer("table", table_entries(row), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the entries, or what the table stands for where it is not read."""
        row, held = self._row, x.detach()
        per_unit = TABLE_SIZE / (row.high - row.low)
        # As the C++ casts to int: toward zero, and then shifted.
        index = (held * per_unit).trunc() - row.low * per_unit
        read = self.table[index.clamp(0, TABLE_SIZE - 1).long()].to(x.dtype) * self._factor
        value = torch.where(held >= 0, held, read) if row.negative else read
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        # A table has no slope of its own; the gradient is that of the function it stands for.
        smooth = row.function(x)
        if row.negative:
            smooth = torch.where(x >= 0, x, self._factor * smooth)
        return straight(smooth, value)


class SoftmaxTables(nn.Module):
    """A softmax that is read from tables; its gradient is that of the function."""

    exponentials: Tensor
    inverses: Tensor

    def __init__(self, softmax: Softmax, n: int) -> None:
        """Take the softmax, and how many numbers it is of."""
        super().__init__()
        self._softmax, self._types = softmax, SoftmaxTypes.of(n, softmax.scale)
        for name, table in zip(
            ("exponentials", "inverses"), tables_of(self._types, softmax.scale), strict=True
        ):
            self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers from 0 to 1, before they are rounded, in the shape of `x`."""
        types, axis, held = self._types, self._softmax.axis + 1, x.detach().double()
        below = types.inp_norm.quantize(held.amax(axis, keepdim=True) - held)
        read = self.exponentials[(below / types.inp_norm.step).long()]
        total = types.inv_inp.quantize(read.sum(axis, keepdim=True))
        value = (read * self.inverses[(total / types.inv_inp.step).long()]).to(x.dtype)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        return straight(self._softmax(x), value)


class _Mean(nn.Module):
    """Average pooling: an exact sum, divided and cut off toward zero to the accumulator's bits."""

    def __init__(self, pool: Any, fraction: int) -> None:
        super().__init__()
        self._pool = pool
        size = pool.kernel_size
        axes = 2 if isinstance(pool, nn.AvgPool2d) else 1
        sizes = size if isinstance(size, tuple) else (size,) * axes
        self._size = math.prod(sizes)
        # ``accum_t`` has as many bits more behind the point as the sum may need in front of it.
        self._step = 2.0 ** -(fraction + math.ceil(math.log2(self._size)))
        self._grid = 2.0**-fraction

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self._pool(x)
        held = mean.detach()
        count: Tensor | float = float(self._size)
        if not self._pool.count_include_pad:
            # torch divides by the pixels that are there; so does hls4ml.
            inside = torch.ones_like(x[:1])
            padded = _with_padding(self._pool)
            count = (padded(inside) * self._size).round()
        # The sum is on the input's grid, which the division of torch has left.
        total = (held * count / self._grid).round() * self._grid
        value = (total / count / self._step).trunc() * self._step
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        return straight(mean, value)


def _with_padding(pool: Any) -> nn.Module:
    """Return an average pooling as it is, but with padded pixels counted."""
    sizes = (pool.kernel_size, pool.stride, pool.padding)
    counted: nn.Module = type(pool)(*sizes, count_include_pad=True)
    return counted


def fraction_of(name: str, plan: Plan) -> int:
    """Return the bits behind the point of what operation `name` puts out."""
    name = plan.layout.placed[name].storage
    kind = plan.types.get(name, FixedType.parse(plan.hardware.precision))
    if kind is not None:
        return kind.fractional
    return plan.exact_type(name).fractional


def eight_bits(value: float) -> float:
    """Return a positive constant in 8 significant bits, as hls4ml's ``infer_precision.py`` does."""
    kind = FixedType(8, math.frexp(value)[1], signed=False)
    return float(kind.quantize(torch.tensor(value, dtype=torch.float64)))


def _argument(node: fx.Node, module: nn.Module | None, name: str, usual: float) -> float:
    """Return a number that an activation was given, as a module or as a function."""
    if module is not None:
        return float(getattr(module, name))
    given = node.kwargs.get(name, node.args[1] if len(node.args) > 1 else usual)
    return float(given) if isinstance(given, int | float) else usual


def _table(name: str) -> _Made:
    return lambda node, module, plan: ActivationTable(TABLES[name])


def _elu(node: fx.Node, module: nn.Module | None, plan: Plan) -> nn.Module:
    return ActivationTable(TABLES["elu"], eight_bits(_argument(node, module, "alpha", 1.0)))


def _leaky(node: fx.Node, module: nn.Module | None, plan: Plan) -> nn.Module:
    return nn.LeakyReLU(eight_bits(_argument(node, module, "negative_slope", 0.01)))


def _mean(node: fx.Node, module: nn.Module | None, plan: Plan) -> nn.Module | None:
    source = node.all_input_nodes[0].name.removeprefix("rounded_")
    return None if module is None else _Mean(module, fraction_of(source, plan))


def _softmax(node: fx.Node, module: nn.Module | None, plan: Plan) -> nn.Module:
    assert isinstance(module, Softmax)
    return SoftmaxTables(module, shape_of_node(node)[module.axis])


_Made = Callable[[fx.Node, nn.Module | None, Plan], nn.Module | None]

#: By type of operation: makes the module that takes its place, given its node, its module (None for
#: a function) and the plan. None leaves the operation to torch.
OWN_ARITHMETIC: dict[str, _Made] = {
    **{name: _table(name) for name in TABLES},
    "elu": _elu,
    "leaky_relu": _leaky,
    "avgpool": _mean,
    "softmax": _softmax,
}
