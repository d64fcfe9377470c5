"""Numbers whose bits behind the point are learned: what HGQ rounds to (Sun et al. 2024).

The rounding error of a number with f bits is about 2^-f of it, so that ``dq/df = ln 2 (x - q)``;
other gradients go straight through. What a network costs is counted in effective bit operations,
the bits of each weight times those of what it reads (HGQ's EBOPs), and has a gradient in f too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.numbers import CircuitNumbers

__all__ = ["BitNumbers", "to_bits"]

#: Fewest bits behind the point, and most of an activation.
_FEWEST, _MOST_READ = -4, 8
#: A bit of a hidden activation costs so much by itself: its ReLU.
_OWN = 1.5


@dataclass
class BitNumbers(CircuitNumbers):
    """What is learned, per layer, beside what is chosen elsewhere.

    Attributes:
        weight_bits: (n_out, n_in) bits of each weight behind the point, before rounding.
        read_bits: (n_in,) the same of what the layer reads.
        price: of a bit operation, in units of the loss.
    """

    weight_bits: list[Tensor] = field(default_factory=list)
    read_bits: list[Tensor] = field(default_factory=list)
    price: float = 1e-5

    def begin(self, bits: int) -> None:
        """Give everything the same bits."""
        self.weight_bits = [torch.full(d.shape, float(bits)) for d in self.digits]
        self.read_bits = [torch.full(f.shape, float(bits)) for f in self.fraction]
        self.settle()

    def settle(self) -> None:
        """Hold bits within their limits, and take them over into the types of what is read."""
        with torch.no_grad():
            for index, (weight, read) in enumerate(zip(self.weight_bits, self.read_bits)):  # noqa: B905
                weight.clamp_(_FEWEST, self.weight_fraction)
                read.clamp_(_FEWEST, _MOST_READ)
                self.fraction[index] = torch.round(read.detach()).long()

    def saved(self) -> dict[str, Tensor]:
        """Return everything as tensors by name, for a checkpoint."""
        found = {**super().saved(), "price": torch.tensor(self.price, dtype=torch.float64)}
        for name in ("weight_bits", "read_bits"):
            parts = getattr(self, name)
            found |= {f"{name}.{i}": part.detach().clone() for i, part in enumerate(parts)}
        return found

    def take(self, saved: dict[str, Tensor]) -> None:
        """Take what was saved."""
        super().take(saved)
        self.price = float(saved["price"])
        for name in ("weight_bits", "read_bits"):
            found = [saved[f"{name}.{index}"].clone() for index in range(len(self.digits))]
            setattr(self, name, found)

    def weight(self, index: int, layer: nn.Linear) -> Tensor:
        """Return (n_out, n_in) the values of a layer's weights, with gradients."""
        bits = self.weight_bits[index].to(layer.weight)
        return to_bits(layer.weight, bits, down=False)

    def activation(self, index: int, x: Tensor, signed: bool, wraps: bool) -> Tensor:
        """Return (N, n_in) what a layer reads, rounded down to its bits."""
        if wraps:
            return super().activation(index, x, signed, wraps)
        return to_bits(x, self.read_bits[index].to(x), down=True)

    def operations(self, chain: Chain, model: nn.Module) -> Tensor:
        """Return the effective bit operations of a network, with gradients in the bits."""
        total = torch.zeros(())
        for index, layer in enumerate(chain.layers):
            value = self.weight(index, layer.of(model)).detach().abs().cpu()
            # Bits before the point of what is not zero; the others have none at all.
            before = torch.floor(torch.log2(value.clamp_min(1e-9))) + 1
            held = _whole(self.weight_bits[index]) + before
            of_weight = torch.where(value > 0, held.clamp_min(1.0), torch.zeros(()))
            integer = self.integer[index].float() + float(layer.signed)
            read = (_whole(self.read_bits[index]) + integer).clamp_min(0.0)
            total = total + (of_weight.sum(0) * read).sum()
            if layer.source >= 0:
                total = total + _OWN * read.sum()
        return total


def _whole(bits: Tensor) -> Tensor:
    """Return whole bits, with straight gradients."""
    return bits + (torch.round(bits.detach()) - bits.detach())


def to_bits(x: Tensor, bits: Tensor, *, down: bool) -> Tensor:
    """Return `x` with so many bits behind the point, differentiable in both.

    Args:
        x: any shape.
        bits: of a shape that broadcasts to it.
        down: round down, else to the nearest.
    """
    found: Tensor = _ToBits.apply(x, bits, down)  # type: ignore[no-untyped-call]
    return found


class _ToBits(torch.autograd.Function):
    """The rounding as autograd knows it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Tensor, down: bool) -> Tensor:
        """Return the values."""
        step = torch.exp2(torch.round(bits))
        value = (torch.floor(x * step) if down else torch.round(x * step)) / step
        error = x - value
        # What is always lost by rounding down is learned by the biases.
        ctx.save_for_backward(error - 0.5 / step if down else error)
        ctx.bits = bits.shape
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of both."""
        (gradient,), (error,) = gradients, ctx.saved_tensors
        of_bits = math.log(2.0) * gradient * error
        return gradient, of_bits.sum_to_size(ctx.bits), None
