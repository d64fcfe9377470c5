"""Whether the types of a network hold its numbers, seen on rows of data before anything is pruned.

The network runs in floats; where hardware will round (`rfprune.fpga.fixed_point`), the numbers are
compared with the type that they will get: what is outside of it overflows, and what is finer than
its step is rounded off. A difference of two numbers can be far smaller than they are, so that a
rounding which is little beside them is much beside it: each place is also rounded alone, and what
that does to the outputs is measured.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.core.named import call, shape_of
from rfprune.core.tables import Column
from rfprune.fpga.fixed_point import observed
from rfprune.fpga.layers import Plan
from rfprune.fpga.layers.output_types import is_exact, type_keys
from rfprune.hardware.precision import FixedType

__all__ = ["NumberRange", "number_notes", "number_ranges", "range_columns"]

#: A wrapped value changes its sign; of values that are only clipped more may be outside.
_WRAPPED, _CLIPPED = 1e-3, 1e-2
#: Rounding noise relative to the values, root mean square: from 1/4 on, two bits are left of them.
_NOISE = 0.25
#: What a proposed type leaves of it.
_PROPOSED_NOISE = 1 / 16
#: By how much rounding one place may move the outputs, relative to their spread over the rows.
_MOVED = 0.25
#: So many values of the input are enough to see that.
_MOVED_VALUES = 2**16
#: So many types are named in notes.
_NAMED = 3


@dataclass(frozen=True)
class NumberRange:
    """The numbers in one place of a network beside their type.

    Attributes:
        place: ``input x``, ``weights of fc1``, ``output of fc1``.
        type: what they are rounded to.
        low: the smallest number.
        high: the largest number.
        overflow: fraction of the numbers that are outside of the type.
        noise: what rounding alone adds, relative to the numbers, both as root mean square.
        moved: what it adds to the outputs, relative to their spread over the rows.
        key: of a file, that decides the type.
        proposal: a type that holds them, if this one does not.
    """

    place: str
    type: str
    low: float
    high: float
    overflow: float
    noise: float
    moved: float
    key: str
    proposal: str | None


def number_ranges(model: nn.Module, plan: Plan, x: Any, trained: bool) -> list[NumberRange]:
    """Return the numbers of a network on rows beside their types, in order of execution.

    Args:
        model: the dense network.
        plan: types by layer.
        x: rows.
        trained: whether its weights are those that will be pruned. Where they are not, its outputs
            hardly differ between rows, and what moves them decides nothing.
    """
    most_moved = _MOVED if trained else math.inf
    operations = {operation.name: operation for operation in plan.network.operations}
    keys = type_keys(plan.network, plan.hardware)
    for layer in plan.layers:
        place = f"{layer.layer.parameter}s of {layer.layer.operation}"
        keys[place] = f"hardware.layers.{layer.name}.weight_precision"
    found = []
    with torch.no_grad():
        watched = observed(model, plan)
        call(watched.network, x)
        seen, few = list(watched.seen), _few(x)
        before = _outputs(call(watched.network, few))
        for place, kind, numbers in seen:
            # What is as wide as it needs to be rounds nothing that its operands have left.
            exact = place in operations and is_exact(operations[place], plan.types)
            if exact or not numbers.numel():
                continue
            with watched.rounding(place, _wide(kind)):
                moved = _moved(_outputs(call(watched.network, few)), before)
            where = _in_words(place, operations)
            found.append(_range(where, keys[place], kind, numbers, moved, most_moved))
    return found


def _few(x: Any) -> Any:
    """Return as many of the rows as a network is run on again and again."""
    shape = shape_of(x)
    inputs = shape.values() if isinstance(shape, dict) else [shape]
    return x[: max(1, _MOVED_VALUES // sum(map(math.prod, inputs)))]


def _outputs(output: Any) -> list[Tensor]:
    """Return the outputs of a network, whatever structure they have."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    return [tensor for part in parts for tensor in _outputs(part)]


def _moved(outputs: list[Tensor], before: list[Tensor]) -> float:
    """Return by how much the outputs of a head differ, in spreads over the rows; the largest."""
    found = [0.0]
    for now, then in zip(outputs, before, strict=True):
        spread = float((then - then.mean(0)).square().mean().sqrt())
        if spread > 0:
            found.append(float((now - then).square().mean().sqrt()) / spread)
    return max(found)


def _wide(kind: FixedType) -> FixedType:
    """Return a type that rounds as `kind` does and overflows nowhere."""
    return replace(kind, width=min(64, kind.width + 24), integer=kind.integer + 24)


def _in_words(place: str, made: Collection[str]) -> str:
    if " " in place:
        return place
    return f"output of {place}" if place in made else f"input {place}"


def _range(
    place: str, key: str, kind: FixedType, values: Tensor, moved: float, most_moved: float
) -> NumberRange:
    low, high = (float(v) for v in values.aminmax())
    # Rounding up to the type's first value beyond its end overflows, rounding down to its end not.
    outside = float(((values < kind.min) | (values >= kind.max + kind.step)).double().mean())
    # Wide in front of the point, so that what is measured is rounding alone and not overflow.
    size = float(values.square().mean().sqrt())
    rounded = _wide(kind).quantize(values)
    noise = float((rounded - values).square().mean().sqrt()) / size if size else 0.0
    found = NumberRange(place, str(kind), low, high, outside, noise, moved, key, None)
    allowed = _WRAPPED if kind.saturation == "WRAP" else _CLIPPED
    if not (found.overflow > allowed or found.noise > _NOISE or found.moved > most_moved):
        return found
    return replace(found, proposal=str(_proposal(found, kind, most_moved)))


def _proposal(found: NumberRange, kind: FixedType, most_moved: float) -> FixedType:
    """Return the type with as many more bits in front of and behind the point as are missing."""
    largest = max(abs(found.low), abs(found.high), 2.0**-20)
    needed = math.floor(math.log2(largest)) + 1 + int(kind.signed)
    integer = max(kind.integer, needed) if found.overflow else kind.integer
    fraction = kind.fractional
    most = max(found.noise / _NOISE, found.moved / most_moved)
    if most > 1:
        fraction += math.ceil(math.log2(most * _NOISE / _PROPOSED_NOISE))
    return replace(kind, width=min(64, integer + fraction), integer=integer)


def number_notes(ranges: Sequence[NumberRange], rows: int, trained: bool) -> list[str]:
    """Return one sentence per type that is too narrow; the first few, and how many more there are.

    Args:
        ranges: of the dense network.
        rows: that it ran on.
        trained: whether its weights are those that will be pruned.
    """
    narrow = [each for each in ranges if each.proposal is not None]
    # What does most first; of equals the first in order of execution.
    narrow.sort(key=lambda each: -max(each.overflow / _CLIPPED, each.noise, trained * each.moved))
    network = "the dense network" if trained else "the network before training"
    notes = []
    for each in narrow[:_NAMED]:
        what = []
        if each.overflow:
            what.append(
                f"{each.overflow:.2%} of the numbers overflow it ({each.low:.3g} to "
                f"{each.high:.3g})"
            )
        if each.noise > _NOISE:
            what.append(f"rounding takes away {each.noise:.0%} of them")
        if trained and each.moved > _MOVED:
            what.append(
                f"rounding them moves the outputs by {each.moved:,.0%} of their spread over the "
                "rows"
            )
        notes.append(
            f"{each.place}: {each.type} is too narrow for {network} on {rows:,} training rows: "
            f"{' and '.join(what)}; {each.key}: {each.proposal} would do."
        )
    if len(narrow) > _NAMED:
        more = ", ".join(f"{each.place} ({each.key}: {each.proposal})" for each in narrow[_NAMED:])
        notes.append(f"Too narrow as well, with a type that would do: {more}.")
    return notes


def range_columns(ranges: Sequence[NumberRange]) -> list[Column]:
    """Return a table of the ranges, one row per place."""
    return [
        Column("numbers", [each.place for each in ranges], left=True, needed=True),
        Column("type", [each.type for each in ranges], left=True, needed=True),
        Column("smallest", [f"{each.low:.3g}" for each in ranges]),
        Column("largest", [f"{each.high:.3g}" for each in ranges]),
        Column("overflow", [f"{each.overflow:.2%}" for each in ranges], needed=True),
        Column("rounding", [f"{each.noise:.1%}" for each in ranges], needed=True),
        Column("moves outputs", [f"{each.moved:,.1%}" for each in ranges]),
        Column("better", [each.proposal or "" for each in ranges], left=True),
    ]
