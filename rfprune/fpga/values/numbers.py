"""What every weight of a planned network may be, and which type every place has.

A weight is the value of its grid with at most so many signed digits that is nearest; gradients go
straight through (Bengio et al. 2013). In training no type wraps; what is measured and built has
types that hold what the training and validation rows need, and wraps beyond.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from rfprune.core.arrays import FloatArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.adders.digits import digit_levels
from rfprune.fpga.fixed_point import fixed_point_graph
from rfprune.fpga.layers import Plan, fold_batch_norm, plan
from rfprune.fpga.values.places import Typed, with_types
from rfprune.hardware.precision import FixedType

__all__ = [
    "FRACTIONS",
    "ValueNumbers",
    "finals",
    "folded_weights",
    "training_graph",
    "weight_type",
]

#: Bits behind the point that a place may have.
FRACTIONS = np.arange(-1, 11)
#: Bits before the point of every type while a network is trained, so that nothing wraps.
_ROOM = 12
#: Of weights: `digit_levels` looks no further.
_WEIGHT_ROOM = 7
#: A weight between two values of its grid in the last place of a float is not another value.
_ROUNDING = "RND"


@dataclass
class ValueNumbers:
    """What is chosen; changed in place while a network is trained.

    Attributes:
        digits: per layer, in the weight's shape, most digits of each weight.
        fraction: (M,) bits behind the point of each place.
        integer: (M,) bits before it, without a sign.
        grid: (L,) bits behind the point that the values of each layer's weights have at most.
        weight_bits: (L, 2) bits of each layer's weights before and behind the point, no sign.
        scale: (R,) by how much more the model of costs says than is built.
        reached: (R,) what the last step held, in the model's units; 0 = nothing was chosen.
        most: digits of a weight at most.
        weight_fraction: bits of any weight behind the point at most.
    """

    digits: list[Tensor]
    fraction: Tensor
    integer: Tensor
    grid: Tensor
    weight_bits: Tensor
    scale: FloatArray
    reached: FloatArray
    most: int
    weight_fraction: int

    @classmethod
    def widest(cls, planned: Plan, typed: Typed, most: int, weight_fraction: int) -> ValueNumbers:
        """Return where a ladder begins: every digit, and the types of the file."""
        kinds = [planned.layers[site.readers[0]].data for site in typed.sites]
        return cls(
            digits=[torch.full(layer.layer.weight_shape, most) for layer in planned.layers],
            fraction=torch.tensor([int(kind.fractional) for kind in kinds]),
            integer=torch.tensor([kind.integer - int(kind.signed) for kind in kinds]),
            grid=torch.full((len(planned.layers),), weight_fraction),
            weight_bits=torch.tensor([[_WEIGHT_ROOM, weight_fraction]] * len(planned.layers)),
            scale=np.ones(len(RESOURCES)),
            reached=np.zeros(len(RESOURCES)),
            most=most,
            weight_fraction=weight_fraction,
        )

    @property
    def chosen(self) -> bool:
        """Whether anything has been chosen."""
        return bool(self.reached.any())

    def saved(self) -> dict[str, Tensor]:
        """Return everything as tensors by name, for a checkpoint."""
        found = {f"digits.{index}": part.clone() for index, part in enumerate(self.digits)}
        for name in ("fraction", "integer", "grid", "weight_bits"):
            found[name] = getattr(self, name).clone()
        return found | {
            "scale": torch.from_numpy(self.scale.copy()),
            "reached": torch.from_numpy(self.reached.copy()),
        }

    def take(self, saved: dict[str, Tensor]) -> None:
        """Take what was saved."""
        self.digits = [saved[f"digits.{index}"].clone() for index in range(len(self.digits))]
        self.fraction, self.integer = saved["fraction"].clone(), saved["integer"].clone()
        self.weight_bits = saved["weight_bits"].clone()
        self.grid = (
            saved["grid"].clone()
            if "grid" in saved
            else torch.full_like(self.grid, self.weight_fraction)
        )
        self.scale, self.reached = (saved[key].numpy().copy() for key in ("scale", "reached"))

    def value(self, index: int, weight: Tensor) -> Tensor:
        """Return the values of a layer's folded weights, with straight gradients."""
        levels = digit_levels(weight.detach(), self.most, int(self.grid[index]))
        value = levels.gather(0, self.digits[index].to(weight.device)[None])[0]
        return weight + (value - weight).detach()

    def look_ups(self, planned: Plan) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return what each layer's weights are looked up in, by its name."""

        def of(index: int) -> Callable[[Tensor], Tensor]:
            return lambda weight: self.value(index, weight)

        return {layer.name: of(index) for index, layer in enumerate(planned.layers)}

    def planned(self, file: Plan, typed: Typed, *, room: bool) -> Plan:
        """Return the plan with the types that are chosen.

        Args:
            file: the plan of the file's own types.
            typed: the places.
            room: types that nothing wraps in, for training; else those that are built.
        """
        kinds = []
        for number, site in enumerate(typed.sites):
            own = file.layers[site.readers[0]].data
            whole = _ROOM if room else int(self.integer[number])
            whole, behind = whole + int(own.signed), int(self.fraction[number])
            kinds.append(str(replace(own, width=max(whole + behind, 1), integer=whole)))
        weights = {}
        for layer, bits in zip(file.layers, self.weight_bits.tolist(), strict=True):
            before, behind = (_WEIGHT_ROOM, self.weight_fraction) if room else bits
            weights[layer.name] = str(weight_type(before, behind))
        return plan(file.network, with_types(file.hardware, typed, kinds, weights))

    def fit_weights(self, weights: list[Tensor]) -> None:
        """Set each layer's type to the narrowest that holds its values."""
        for index, weight in enumerate(weights):
            codes = torch.round(weight.double() * 2.0**self.weight_fraction).long()
            largest = int(codes.abs().max())
            # The lowest digit that any of them has.
            low = int(_trailing_zeros(codes)) if largest else self.weight_fraction
            before = largest.bit_length() - self.weight_fraction
            behind = self.weight_fraction - low
            # A type has a bit beside its sign, and hls4ml prints none without whole numbers.
            self.weight_bits[index] = torch.tensor([max(before, 0), max(behind, 1)])


def weight_type(before: int, behind: int) -> FixedType:
    """Return the type of weights with so many bits before and behind the point, and a sign."""
    return FixedType(max(1 + before + behind, 1), 1 + before, True, _ROUNDING, "WRAP")


def _trailing_zeros(codes: Tensor) -> int:
    """Return how many of the lowest bits are zero in all codes."""
    together = int(np.bitwise_or.reduce(codes.abs().reshape(-1).numpy()))
    return (together & -together).bit_length() - 1


def _as_written(model: nn.Module) -> nn.Module:
    """Return a module with the same parts whose ``forward`` is its own, also while it trains."""
    found = copy.copy(model)
    found.__dict__.pop("forward", None)
    return found


def training_graph(
    model: nn.Module, numbers: ValueNumbers, file: Plan, typed: Typed
) -> fx.GraphModule:
    """Return what trains a network through the rounding to its values and types."""
    planned = numbers.planned(file, typed, room=True)
    return fixed_point_graph(_as_written(model), planned, numbers.look_ups(file))


def folded_weights(model: nn.Module, planned: Plan) -> list[Tensor]:
    """Return the weights of each layer with what scales them folded in."""
    folded = fold_batch_norm(_as_written(model), planned.network)
    return [layer.layer.weight_of(folded).detach() for layer in planned.layers]


def finals(model: nn.Module, numbers: ValueNumbers, planned: Plan) -> nn.Module:
    """Return a copy whose folded weights are the constants that are built."""
    final = copy.deepcopy(_as_written(model)).cpu()
    ones = copy.deepcopy(final)
    with torch.no_grad():
        for layer in planned.layers:
            layer.layer.weight_of(ones).fill_(1.0)
        scales = folded_weights(ones, planned)
        for index, weight in enumerate(folded_weights(final, planned)):
            value, scale = numbers.value(index, weight), scales[index]
            # Nothing is left of what is scaled by nothing.
            held = torch.where(scale == 0, torch.zeros_like(value), value / scale)
            planned.layers[index].layer.weight_of(final).copy_(held)
    return final
