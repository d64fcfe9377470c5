"""What every weight and activation is rounded to, and the network that computes so.

A weight is the sum of the digits that it may have, an activation has bits of its own before and
behind the point. Gradients go straight through the rounding (Bengio et al. 2013). In training
nothing wraps; in evaluation everything does, as the circuit does, so that what is measured is what
is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray
from rfprune.fpga.adders.chain import Chain, ChainLayer
from rfprune.fpga.adders.digits import digit_levels

__all__ = [
    "WIDTHS",
    "Circuit",
    "CircuitNumbers",
    "Seen",
    "calibrate",
    "constants",
    "forward",
]

#: Bits behind the point that an activation may have.
WIDTHS = np.arange(-2, 7)
#: Integer bits of an activation that is always zero.
_NEVER = -20
#: Rows that go through at once.
_ROWS = 16_384


@dataclass
class CircuitNumbers:
    """What is chosen, per layer; changed in place while a network is trained.

    Attributes:
        digits: (n_out, n_in) most digits of each weight.
        fraction: (n_in,) bits behind the point of each activation that the layer reads.
        integer: (n_in,) bits before it, without a sign.
        scale: by how much more the model of costs says than the adder graph has.
        reached: the budget, in the model's units, that was reached last; 0 = none.
        most: digits of a weight at most.
        weight_fraction: bits of a weight behind the point.
        readers: per layer, the numbers of the layers that read it.
        last_bias: bits of the last layer's biases behind the point; others have one more than what
            reads them.
    """

    digits: list[Tensor]
    fraction: list[Tensor]
    integer: list[Tensor]
    scale: float
    reached: float
    most: int
    weight_fraction: int
    readers: tuple[tuple[int, ...], ...]
    last_bias: int = 4

    @classmethod
    def widest(cls, chain: Chain, most: int, weight_fraction: int) -> CircuitNumbers:
        """Return where a ladder begins: every digit, and more bits than any activation keeps."""
        sizes = [(layer.n_out, layer.n_in) for layer in chain.layers]
        return cls(
            digits=[torch.full(size, most) for size in sizes],
            fraction=[torch.full((n_in,), 8) for _, n_in in sizes],
            integer=[torch.full((n_in,), 4) for _, n_in in sizes],
            scale=1.2,
            reached=0.0,
            most=most,
            weight_fraction=weight_fraction,
            readers=tuple(chain.readers(index) for index in range(len(sizes))),
        )

    def saved(self) -> dict[str, Tensor]:
        """Return everything as tensors by name, for a checkpoint."""
        found = {"scalars": torch.tensor([self.scale, self.reached], dtype=torch.float64)}
        for index, parts in enumerate(zip(self.digits, self.fraction, self.integer, strict=True)):
            for name, part in zip(("digits", "fraction", "integer"), parts, strict=True):
                found[f"{name}.{index}"] = part.clone()
        return found

    def take(self, saved: dict[str, Tensor]) -> None:
        """Take what was saved."""
        self.scale, self.reached = (float(each) for each in saved["scalars"])
        for index in range(len(self.digits)):
            self.digits[index] = saved[f"digits.{index}"].clone()
            self.fraction[index] = saved[f"fraction.{index}"].clone()
            self.integer[index] = saved[f"integer.{index}"].clone()

    def weight(self, index: int, layer: nn.Linear) -> Tensor:
        """Return (n_out, n_in) the values of a layer's weights, with straight gradients."""
        weight = layer.weight
        levels = digit_levels(weight.detach(), self.most, self.weight_fraction)
        value = levels.gather(0, self.digits[index].to(weight.device)[None])[0]
        return weight + (value - weight).detach()

    def bias(self, index: int, bias: Tensor) -> Tensor:
        """Return (n_out,) the values of a layer's biases, with straight gradients."""
        step = torch.exp2(self.bias_fraction(index).float()).to(bias.device)
        return bias + (torch.round(bias.detach() * step) / step - bias).detach()

    def bias_fraction(self, index: int) -> Tensor:
        """Return (n_out,) or () the bits behind the point of a layer's biases."""
        finest = self.finest(index)
        return torch.tensor(self.last_bias) if finest is None else finest + 1

    def finest(self, index: int) -> Tensor | None:
        """Return (n_out,) bits behind the point of the finest reader; None if nothing reads."""
        read = [self.fraction[reader] for reader in self.readers[index]]
        return torch.stack(read).amax(dim=0) if read else None

    def activation(self, index: int, x: Tensor, signed: bool, wraps: bool) -> Tensor:
        """Return (N, n_in) what a layer reads, rounded down to its bits."""
        step = torch.exp2(self.fraction[index].to(x))
        value = torch.floor(x.detach() * step) / step
        if wraps:
            span = torch.exp2(self.integer[index].to(x))
            low = -span if signed else torch.zeros_like(span)
            value = torch.remainder(value - low, span - low) + low
            empty = self.integer[index] + self.fraction[index] + int(signed) <= 0
            return value.masked_fill(empty.to(x.device), 0.0)
        return x + (value - x.detach())

    def bits(self, index: int, signed: bool) -> FloatArray:
        """Return (n_in,) the bits of what a layer reads."""
        total = self.integer[index] + self.fraction[index] + int(signed)
        return np.asarray(total.clamp_min(0).numpy(), dtype=np.float64)

    def calibrate(self, index: int, x: Tensor) -> None:
        """Set the integer bits so that none of these activations (N, n_in) wraps."""
        # Rounding down can take a negative number one step further from zero.
        largest = torch.maximum(x.amax(0), -x.amin(0) * (1 + 2**-20)).cpu()
        bits = torch.floor(torch.log2(largest.clamp_min(1e-9))) + 1
        self.integer[index] = torch.where(largest > 0, bits, float(_NEVER)).to(torch.int64)


@dataclass
class Seen:
    """What a forward pass went through, per layer: (N, n_in) inputs and (N, n_out) outputs."""

    inputs: list[Tensor]
    outputs: list[Tensor]


def forward(
    chain: Chain,
    model: nn.Module,
    numbers: CircuitNumbers,
    x: Tensor,
    *,
    wraps: bool,
    seen: Seen | None = None,
    calibrates: bool = False,
) -> Any:
    """Return what the network puts out in its numbers: (N, outputs), or several of these.

    Args:
        chain: its layers.
        model: which holds their weights.
        numbers: what they are rounded to; `calibrates` sets its integer bits on the way.
        x: (N, ...) rows.
        wraps: whether activations beyond their bits wrap.
        seen: takes what went through, with its gradients.
        calibrates: set the integer bits by these rows.
    """
    left = {-1: x.flatten(1)}
    for index, layer in enumerate(chain.layers):
        x = left[layer.source]
        if calibrates:
            numbers.calibrate(index, x)
        x = numbers.activation(index, x, layer.signed, wraps)
        if seen is not None:
            if x.requires_grad:
                x.retain_grad()
            else:
                x.requires_grad_()
            seen.inputs.append(x)
        weight = numbers.weight(index, layer.of(model))
        x = nn.functional.linear(x, weight, numbers.bias(index, layer.bias_of(model)))
        if seen is not None:
            x.retain_grad()
            seen.outputs.append(x)
        left[index] = torch.relu(x) if layer.relu else x
    return chain.packed([left[index] for index in chain.outputs])


def calibrate(
    chain: Chain, model: nn.Module, numbers: CircuitNumbers, x: Any, widens: bool = False
) -> None:
    """Set the integer bits so that no activation of these rows wraps.

    Args:
        chain: the layers.
        model: which holds their weights.
        numbers: whose integer bits are set.
        x: (N, ...) rows.
        widens: leave bits that earlier rows needed.
    """
    before = [each.clone() for each in numbers.integer]
    found: list[Tensor] | None = None
    with torch.no_grad():
        for rows in x.split(_ROWS):
            forward(chain, model, numbers, rows, wraps=False, calibrates=True)
            own = [each.clone() for each in numbers.integer]
            found = own if found is None else list(map(torch.maximum, found, own))
    assert found is not None
    numbers.integer = list(map(torch.maximum, found, before)) if widens else found


class Circuit(nn.Module):
    """A network as its circuit computes it; it shares the network's parameters."""

    def __init__(self, chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> None:
        """Take the network and its numbers."""
        super().__init__()
        self.model = model
        self._chain, self._numbers = chain, numbers

    def forward(self, x: Tensor) -> Any:
        """Return what the network puts out."""
        return forward(self._chain, self.model, self._numbers, x, wraps=True)


def constants(
    chain: Chain, model: nn.Module, numbers: CircuitNumbers
) -> list[tuple[ChainLayer, FloatArray, FloatArray]]:
    """Return each layer with its weights (n_out, n_in) and biases (n_out,) as built."""
    found = []
    with torch.no_grad():
        for index, layer in enumerate(chain.layers):
            weight = numbers.weight(index, layer.of(model)).double().cpu().numpy()
            bias = numbers.bias(index, layer.bias_of(model)).double().cpu().numpy()
            found.append((layer, weight, bias))
    return found
