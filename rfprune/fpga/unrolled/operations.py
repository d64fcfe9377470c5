"""What every operation of a lowered network computes, on arrays of alkaid's symbolic numbers.

One function per row: it gets the values that the operation reads, without the axis of the rows, and
returns what it puts out, exact; the cast to the operation's type comes behind it
(`rfprune.fpga.unrolled.circuit`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rfprune.core.arrays import FloatArray, IntArray
from rfprune.errors import NetworkError
from rfprune.fpga.layers import LayerPlan
from rfprune.fpga.layers.fold import norm_affine
from rfprune.fpga.layers.operators import (
    Affine,
    Concatenate,
    Gather,
    Merge,
    Product,
    Softmax,
    Sum,
)
from rfprune.fpga.layers.weight_kinds import weights_of
from rfprune.fpga.own_arithmetic import TABLE_SIZE, TABLE_TYPE, TABLES, eight_bits, table_entries
from rfprune.fpga.softmax_tables import SoftmaxTypes, tables_of
from rfprune.hardware.precision import FixedType

__all__ = [
    "MODULES",
    "Values",
    "cast",
    "convolution",
    "dense",
    "independent",
    "scaled",
    "threshold",
]

#: An array of alkaid's numbers.
Values = Any
#: alkaid computes with constants of single precision.
LARGEST_WEIGHT = 24
#: Bits of a constant that is added: its lowest one is looked for in single precision.
_CONSTANT = 24

#: RND_CONV of alkaid 0.8.2 rounds constants, and some ties, to the wrong side.
_ROUNDING = ("TRN", "RND")
_OVERFLOW = ("WRAP", "SAT", "SAT_SYM")


def cast(x: Values, kind: FixedType) -> Values:
    """Return values cast to a type.

    Raises:
        NetworkError: alkaid knows no such rounding or overflow.
    """
    if kind.rounding not in _ROUNDING or kind.saturation not in _OVERFLOW:
        raise NetworkError(
            f"{kind}: alkaid rounds and saturates in other ways. Allowed: {', '.join(_ROUNDING)}; "
            f"{', '.join(_OVERFLOW)}."
        )
    sign = int(kind.signed)
    return x.quantize(sign, kind.integer - sign, kind.fractional, kind.saturation, kind.rounding)


# Layers with weights --------------------------------------------------------------------------


def _numbers(layer: LayerPlan, module: Any) -> tuple[FloatArray, FloatArray | float]:
    """Return weights and biases on the grids of their types."""
    if layer.weight.width > LARGEST_WEIGHT:
        raise NetworkError(
            f"{layer.name}: weights of {layer.weight.width} bits. Allowed with backend alkaid: up "
            f"to {LARGEST_WEIGHT}."
        )
    weight = layer.weight.quantize(
        weights_of(module)[layer.layer.parameter].detach().double()
    ).numpy()
    if module.bias is None:
        return weight, 0.0
    return weight, layer.result.quantize(module.bias.detach().double()).numpy()


def dense(x: Values, layer: LayerPlan, module: nn.Linear) -> Values:
    """Return (..., n_out) of (..., n_in)."""
    weight, bias = _numbers(layer, module)
    flat = _product(x.reshape(-1, x.shape[-1]), weight.T)
    return _plus(flat, bias).reshape(*x.shape[:-1], len(weight))


def convolution(x: Values, layer: LayerPlan, module: Any) -> Values:
    """Return (filters, ...) of (channels, ...): a product at every position."""
    weight, bias = _numbers(layer, module)
    windows, shape = _windows(x.shape[1:], module)
    patches = _taken(x, windows)  # (C, P, K)
    if layer.layer.kind.depthwise:
        pairs = zip(patches, weight, strict=True)
        parts = [_product(patch, one.reshape(-1, 1)) for patch, one in pairs]
        out = np.concatenate([part.reshape(1, -1) for part in parts])
    else:
        flat = patches.transpose(1, 0, 2).reshape(windows.shape[0], -1)
        out = _product(flat, weight.reshape(len(weight), -1).T).transpose(1, 0)
    bias = np.broadcast_to(bias, len(weight)).reshape(-1, 1)
    return _plus(out, bias).reshape(len(weight), *shape)


def _product(x: Values, weight: FloatArray) -> Values:
    """Return (n, n_out) of (n, n_in) and (n_in, n_out); alkaid takes no product of constants."""
    out = np.empty((len(x), weight.shape[1]), dtype=object)
    for number, row in enumerate(np.asarray(x)):
        live = np.array([each.low != each.high for each in row])
        known = np.array([each.low for each in row[~live]], dtype=np.float64)
        total: Any = known @ weight[~live]
        if weight[live].any():
            places, merged = _once(row[live], weight[live])
            total = np.asarray(_plus(x[number][live][places] @ merged, total))
        out[number] = total
    return _array(out, x)


def _plus(x: Values, constant: FloatArray | float) -> Values:
    """Return a sum with constants, whose lower bits alkaid drops silently beyond 24.

    Raises:
        NetworkError: a constant has more.
    """
    numbers = np.broadcast_to(constant, x.shape).reshape(-1)
    for each, number in zip(np.asarray(x).reshape(-1), numbers, strict=True):
        if each.low == each.high:
            continue
        total = float(number)
        if each.opr == "cadd":  # two constants in a row become one
            (parent,) = each._from
            ratio = each._factor / parent._factor
            total += each.low - ratio * (parent.low if ratio > 0 else parent.high)
        code = abs((total / each._factor).as_integer_ratio()[0])
        while code and code % 2 == 0:
            code //= 2
        if code.bit_length() > _CONSTANT:
            raise NetworkError(
                f"the constant {total:g} of {code.bit_length()} bits. Allowed with backend alkaid: "
                f"{_CONSTANT}; use narrower types."
            )
    return x + constant


def _once(row: Any, weight: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return where each number stands first, and its weights summed over all its places."""
    first: dict[Any, int] = {}
    for place, each in enumerate(row):
        first.setdefault(each.id, place)
    places = np.array(list(first.values()))
    merged = np.zeros((len(places), weight.shape[1]))
    order = {identity: index for index, identity in enumerate(first)}
    for each, weights in zip(row, weight, strict=True):
        # The same number may stand there with another sign or shifted.
        merged[order[each.id]] += weights * (each._factor / row[first[each.id]]._factor)
    return places, merged


def independent(x: Values) -> Values:
    """Return numbers whose ranges know nothing of each other.

    alkaid 0.8.2 finds narrower ranges where numbers depend on each other, and then takes the wrong
    one of two in comparisons and saturation.
    """
    from alkaid.trace.affine_interval import AffineInterval

    fresh = [
        each._with(_affine=AffineInterval.new(each.qint), renew_id=False)
        for each in np.asarray(x).reshape(-1)
    ]
    return _array(fresh, x).reshape(x.shape)


def _array(numbers: Any, like: Values) -> Values:
    """Return alkaid's numbers, or plain ones, as an array of its own."""
    return type(like)(np.asarray(numbers, dtype=object), hwconf=like.hwconf)


def _taken(x: Values, windows: IntArray, outside: float = 0.0) -> Values:
    """Return (C, positions, K) of (C, ...), where place 0 of a window is outside of the image."""
    flat = x.reshape(x.shape[0], -1)
    return np.concatenate([np.full((len(flat), 1), outside), flat], axis=1)[:, windows]


def _windows(sizes: tuple[int, ...], module: Any) -> tuple[IntArray, tuple[int, ...]]:
    """Return (positions, K) the places that each window reads, from 1 on, and torch's shape."""
    rank = len(sizes)

    def both(value: Any, usual: int) -> tuple[int, int]:
        found = tuple(value) if isinstance(value, tuple | list) else (int(value),) * rank
        return (usual, *found) if rank == 1 else found  # type: ignore[return-value]

    kernel, stride = both(module.kernel_size, 1), both(module.stride, 1)
    places = torch.arange(1, 1 + math.prod(sizes), dtype=torch.float64)
    image = places.reshape(1, 1, *((1, *sizes) if rank == 1 else sizes))
    if module.padding == "same":
        before = [(size - 1) // 2 for size in kernel]
        after = [size - 1 - part for size, part in zip(kernel, before, strict=True)]
        edges = (before[1], after[1], before[0], after[0])
    else:
        down, right = (0, 0) if module.padding == "valid" else both(module.padding, 0)
        edges = (right, right, down, down)
    image = F.pad(image, edges)
    shape = tuple(
        (size - part) // step + 1
        for size, part, step in zip(image.shape[2:], kernel, stride, strict=True)
    )
    windows = F.unfold(image, kernel, stride=stride)[0].T.long().numpy()
    return windows, shape[1:] if rank == 1 else shape


# What rounds nothing --------------------------------------------------------------------------


def _places(x: Values, module: nn.Module) -> Values:
    """Return what a module that only moves numbers, and puts zeros between them, makes of them."""
    index = torch.arange(1, x.size + 1, dtype=torch.float64).reshape(1, *x.shape)
    moved = module(index)[0].long().numpy()
    flat = np.concatenate([np.zeros(1), x.reshape(-1)]) if (moved == 0).any() else None
    return x.reshape(-1)[moved - 1] if flat is None else flat[moved]


def _merge(x: Values, module: Merge, y: Values) -> Values:
    """Return two arrays, element by element."""
    do: dict[str, Callable[[Values, Values], Values]] = {
        "add": lambda a, b: a + b,
        "subtract": lambda a, b: a - b,
        "multiply": lambda a, b: a * b,
        "maximum": np.maximum,
        "minimum": np.minimum,
    }
    a, b = (_spread(part, np.broadcast_shapes(x.shape, y.shape)) for part in (x, y))
    return do[module.operation](a, b)


def _spread(x: Values, shape: tuple[int, ...]) -> Values:
    """Return an array with its axes of length 1 repeated."""
    index = np.broadcast_to(np.arange(x.size).reshape(x.shape), shape)
    return x.reshape(-1)[index]


def _sum(x: Values, module: Sum) -> Values:
    shape = tuple(1 if axis in module.axes else size for axis, size in enumerate(x.shape))
    rest = [axis for axis in range(x.ndim) if axis not in module.axes]
    rows = x.transpose(*rest, *module.axes).reshape(math.prod(shape), -1)
    return _row_sums(rows).reshape(shape)


def _row_sums(x: Values) -> Values:
    """Return (n,) of (n, terms), as trees: one by one would take as many levels as terms."""
    return _array(np.asarray(np.sum(x, axis=1)), x)


def _products(x: Values, module: Product, y: Values) -> Values:
    first, second, result = module.letters
    kept, *own, summed = Product.order(module.letters)
    sizes = dict(zip(first + second, (*x.shape, *y.shape), strict=True))
    made = "".join((kept, *own))
    each = tuple(sizes[letter] for letter in made + summed)
    # Both with all letters, of which each has some alone.
    parts = []
    for values, letters in ((x, first), (y, second)):
        found = [letter for letter in made + summed if letter in letters]
        turned = values.transpose(*(letters.index(letter) for letter in found))
        shape = tuple(sizes[letter] if letter in letters else 1 for letter in made + summed)
        parts.append(_spread(turned.reshape(shape), each))
    terms = math.prod(sizes[letter] for letter in summed)
    sums = _row_sums((parts[0] * parts[1]).reshape(-1, terms)).reshape(each[: len(made)])
    return sums.transpose(*(made.index(letter) for letter in result))


def _softmax(x: Values, module: Softmax) -> Values:
    """Return what `rfprune.fpga.softmax_tables` computes, before it is rounded."""
    n = x.shape[module.axis]
    types = SoftmaxTypes.of(n, module.scale)
    exponentials, inverses = (table.numpy() for table in tables_of(types, module.scale))
    axes = [*(axis for axis in range(x.ndim) if axis != module.axis), module.axis]
    turned = x.transpose(*axes)
    rows = turned.reshape(-1, n)
    most = _spread(_array(np.asarray(np.amax(rows, axis=1)), x).reshape(-1, 1), rows.shape)
    below = cast(independent(most - rows), types.inp_norm) * (1 / types.inp_norm.step)
    read = _looked_up(below, exponentials, types.exp_table)
    total = cast(_row_sums(read), types.inv_inp) * (1 / types.inv_inp.step)
    inverse = _looked_up(total, inverses, types.inv_table)
    found = read * _spread(inverse.reshape(-1, 1), rows.shape)
    return found.reshape(turned.shape).transpose(*np.argsort(axes))


def _clip(x: Values, module: Any) -> Values:
    return np.minimum(np.maximum(x, 0.0), float(module.max_val))


def _max_pool(x: Values, module: Any) -> Values:
    windows, shape = _windows(x.shape[1:], module)
    low = min(float(each.low) for each in np.asarray(x).ravel())
    # A padded place never wins; torch pads with minus infinity.
    patches = _taken(x, windows, outside=low) if (windows == 0).any() else _taken(x, windows)
    return np.amax(patches, axis=2).reshape(x.shape[0], *shape)


def _average_pool(x: Values, module: Any) -> Values:
    windows, shape = _windows(x.shape[1:], module)
    count, inside = windows.shape[1], (windows > 0).sum(axis=1)
    padded = not module.count_include_pad and len(set(inside.tolist())) > 1
    if padded or count & (count - 1):
        raise NetworkError(
            f"{type(module).__name__}: an average over {count} numbers. Allowed with backend "
            "alkaid: as many as a power of two, the same everywhere, which it divides exactly; or "
            "take a sum."
        )
    return (np.sum(_taken(x, windows), axis=2) * (1.0 / count)).reshape(x.shape[0], *shape)


# Constants and tables ---------------------------------------------------------------------------


def scaled(x: Values, module: Any, kind: FixedType) -> Values:
    """Return a scale and a shift that stay an operation, both rounded to the default type."""
    if isinstance(module, Affine):
        scale, shift = module.constants()
    else:
        shape = (-1, *[1] * (x.ndim - 1))
        scale, shift = (part.reshape(shape) for part in norm_affine(module))
    factor, offset = (
        np.broadcast_to(kind.quantize(part.detach().double()).numpy(), x.shape)
        for part in (scale, shift)
    )
    return _plus(x * factor, offset)


def threshold(x: Values, module: nn.Threshold, kind: FixedType) -> Values:
    """Return what lies above a threshold, else 0."""
    theta = float(kind.quantize(torch.tensor(module.threshold, dtype=torch.float64)))
    return np.where(x > theta, x, 0.0)


def _leaky(x: Values, module: nn.LeakyReLU) -> Values:
    return np.where(x < 0, x * eight_bits(module.negative_slope), x)


def _table(name: str) -> Callable[[Values, Any], Values]:
    """Return a table's function: the index is cut off toward zero, and held within the table."""
    row = TABLES[name]
    per_unit = TABLE_SIZE / (row.high - row.low)
    entries = table_entries(row).numpy()

    def read(x: Values, module: Any) -> Values:
        place = x * per_unit
        # A step below one for negative numbers, so that cutting off goes toward zero.
        fraction = int(np.max(place.kif[2]))
        up = np.where(place < 0, 1.0 - 2.0**-fraction, 0.0) if fraction > 0 else 0.0
        whole = place + up
        kif = whole.kif
        index = whole.quantize(kif[0], kif[1], np.zeros_like(kif[2]), "WRAP", "TRN")
        index = index + -row.low * per_unit
        held = np.minimum(np.maximum(index, 0.0), float(TABLE_SIZE - 1))
        # Whole numbers from 0 to the last entry, of ten bits.
        held = held.quantize(0, int(math.log2(TABLE_SIZE)), 0)
        return _looked_up(held, entries, TABLE_TYPE)

    def function(x: Values, module: Any) -> Values:
        if not row.negative:
            return read(x, module)
        factor = eight_bits(float(module.alpha))
        return np.where(x < 0, read(x, module) * factor, x)

    return function


def _looked_up(index: Values, entries: FloatArray, kind: FixedType) -> Values:
    """Return entries of a table; cast at once, as alkaid has no type for a table's output."""
    chosen = index.apply(lambda place: entries[np.clip(place, 0, len(entries) - 1).astype(int)])
    return cast(chosen, kind)


#: Class of a module -> what it computes; weight layers, constants and thresholds need more.
MODULES: dict[type[nn.Module], Callable[..., Values]] = {
    nn.ReLU: lambda x, module: x.relu(),
    nn.ReLU6: _clip,
    nn.Hardtanh: _clip,
    nn.LeakyReLU: _leaky,
    nn.Sigmoid: _table("sigmoid"),
    nn.Tanh: _table("tanh"),
    nn.ELU: _table("elu"),
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool1d: _average_pool,
    nn.AvgPool2d: _average_pool,
    nn.Flatten: lambda x, module: x.reshape(-1),
    nn.Upsample: _places,
    nn.ZeroPad2d: _places,
    nn.ConstantPad2d: _places,
    nn.ConstantPad1d: _places,
    Gather: lambda x, module: _array(np.asarray(x).reshape(-1)[module.index.numpy()], x),
    Product: _products,
    Softmax: _softmax,
    Sum: _sum,
    Merge: _merge,
    Concatenate: lambda x, module, *more: np.concatenate([x, *more], axis=module.axis),
}
