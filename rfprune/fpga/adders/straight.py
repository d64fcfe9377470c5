"""One update's forward and backward pass through the rounding, in few passes over the rows.

It computes what `numbers.forward` does without wrapping, with the same straight gradients. Powers
of two move from the activations into the weights, so that rounding an activation is a `floor` of
what the product left, in place; all weights are rounded by one look-up. A step of a small network
takes a third of the time that it takes operation by operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.digits import level_table, places
from rfprune.fpga.adders.numbers import CircuitNumbers

__all__ = ["StraightThrough", "computing"]


@dataclass(frozen=True)
class _Plan:
    """What a layer computes between two choices.

    Attributes:
        rows: (R,) its neurons that somebody reads.
        shape: R and the number C of its inputs that it reads.
        into: (C,) units of its inputs per one.
        out: (R,) units of its outputs per one: of the finest reader.
        ratio: (R, C) ``out / into``, which its weights are multiplied by.
        grid: (R,) steps of its biases per one.
        shift: (R,) ``out / grid``.
        shared: if others read its source too, (C,) where its inputs are among the neurons of that,
            and (C,) its units per unit of that.
    """

    rows: Tensor
    shape: tuple[int, int]
    into: Tensor
    out: Tensor
    ratio: Tensor
    grid: Tensor
    shift: Tensor
    shared: tuple[Tensor, Tensor] | None


class StraightThrough:
    """The training pass of one network; buffers and powers of two are kept between updates."""

    def __init__(self, chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> None:
        """Take the network and its numbers."""
        self._chain, self._numbers = chain, numbers
        self._weights = [layer.of(model).weight for layer in chain.layers]
        self._biases = [layer.of(model).bias for layer in chain.layers]
        self._parameters = [*self._weights, *(b for b in self._biases if b is not None)]
        self._known: list[Tensor] = []
        self._buffers: dict[tuple[int, str, int], Tensor] = {}

    def __call__(self, x: Tensor) -> Any:
        """Return what the network puts out for rows (N, ...)."""
        outputs = _Pass.apply(self, x.flatten(1), *self._parameters)  # type: ignore[no-untyped-call]
        return self._chain.packed(outputs)

    def _refresh(self) -> None:
        """Take over digits and widths that were chosen since the last update."""
        numbers = self._numbers
        now = [*numbers.digits, *numbers.fraction]
        if len(now) == len(self._known) and all(map(_same, now, self._known)):
            return
        self._known = now
        self._buffers.clear()
        like = self._weights[0]
        table = level_table(numbers.most, numbers.weight_fraction).to(like)
        self._flat = table.reshape(-1)
        self._plans: list[_Plan] = []
        offset, pick, row = 0, [], []
        nonzero = [digits > 0 for digits in numbers.digits]
        for index, layer in enumerate(self._chain.layers):
            digits = numbers.digits[index]
            # Neurons that nobody reads are left out of every product.
            rows, columns = self._chain.live(index, nonzero), self._columns(index)
            pick.append((offset + rows[:, None] * layer.n_in + columns[None]).reshape(-1))
            row.append(digits[rows][:, columns].reshape(-1))
            offset += digits.numel()
            self._plans.append(self._plan(index, rows, columns, like))
        self._pick = torch.cat(pick).to(like.device)
        self._row = torch.cat(row).to(like.device, torch.int64) * table.shape[1]
        self._ratios = torch.cat([plan.ratio.reshape(-1) for plan in self._plans])
        self._size = offset

    def _columns(self, index: int) -> Tensor:
        """Return which of its inputs a layer reads; of the network's input, all."""
        layer = self._chain.layers[index]
        if layer.source < 0:
            return torch.arange(layer.n_in)
        return (self._numbers.digits[index] > 0).any(dim=0).nonzero().flatten()

    def _plan(self, index: int, rows: Tensor, columns: Tensor, like: Tensor) -> _Plan:
        numbers, layer = self._numbers, self._chain.layers[index]
        into = torch.exp2(numbers.fraction[index][columns].to(like))
        finest = numbers.finest(index)
        out = like.new_ones(len(rows)) if finest is None else torch.exp2(finest[rows].to(like))
        grid = torch.exp2(numbers.bias_fraction(index).to(like)).expand(layer.n_out)
        grid = grid[rows.to(like.device)]
        shared = None
        if layer.source >= 0 and len(self._chain.readers(layer.source)) > 1:
            # Several read it: each takes its own columns, at its own width.
            before = self._plans[layer.source]
            place = torch.searchsorted(before.rows.cpu(), columns).to(like.device)
            shared = place, into / before.out[place]
        return _Plan(
            rows=rows.to(like.device),
            shape=(len(rows), len(columns)),
            into=into,
            out=out,
            ratio=out[:, None] / into[None],
            grid=grid,
            shift=out / grid,
            shared=shared,
        )

    def _buffer(self, index: int, name: str, rows: int, columns: int, like: Tensor) -> Tensor:
        """Return memory of (rows, columns) that is used again by the next update."""
        key = (index, name, rows)
        if key not in self._buffers:
            self._buffers[key] = like.new_empty((rows, columns))
        return self._buffers[key]

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return outputs, what each layer reads and puts out (scaled), and the scaled weights."""
        self._refresh()
        every = torch.cat([w.detach().reshape(-1) for w in self._weights])[self._pick]
        place = places(every, self._numbers.weight_fraction).add_(self._row)
        scaled = self._flat[place].mul_(self._ratios)
        parts = torch.split(scaled, [plan.shape[0] * plan.shape[1] for plan in self._plans])
        weights: list[Tensor] = []
        read: list[Tensor] = []
        left: list[Tensor] = []
        for index, (layer, plan) in enumerate(zip(self._chain.layers, self._plans, strict=True)):
            weights.append(parts[index].view(plan.shape))
            now = self._read(index, x if layer.source < 0 else left[layer.source])
            read.append(now)
            bias = self._biases[index]
            if bias is None:
                shift = now.new_zeros(plan.shape[0])
            else:
                shift = torch.round(bias.detach()[plan.rows] * plan.grid).mul_(plan.shift)
            if index in self._chain.outputs:
                z = torch.addmm(shift, now, weights[index].t())
            else:
                z = self._buffer(index, "z", len(x), plan.shape[0], x)
                torch.addmm(shift, now, weights[index].t(), out=z)
            left.append(z.relu_() if layer.relu else z)
        return [left[index] for index in self._chain.outputs], read, left, weights

    def _read(self, index: int, x: Tensor) -> Tensor:
        """Return (N, columns) whole numbers: what a layer reads, in units of its last bits."""
        plan = self._plans[index]
        if self._chain.layers[index].source < 0:
            return torch.mul(x, plan.into).floor_()
        if plan.shared is not None:
            place, coarser = plan.shared
            return x.index_select(1, place).mul_(coarser).floor_()
        return torch.floor(x, out=self._buffer(index, "a", len(x), plan.shape[1], x))

    def backward(
        self,
        gradients: Sequence[Tensor | None],
        read: list[Tensor],
        left: list[Tensor],
        weights: list[Tensor],
    ) -> list[Tensor]:
        """Return the gradients of all parameters, in their order."""
        arrived: dict[int, Tensor] = {}
        for index, given in zip(self._chain.outputs, gradients, strict=True):
            arrived[index] = torch.zeros_like(left[index]) if given is None else given
        of_weights, of_biases = [], []
        for index in reversed(range(len(weights))):
            layer, plan = self._chain.layers[index], self._plans[index]
            gradient = arrived.pop(index)
            if layer.relu:
                # What autograd handed over is not ours to write into.
                into = torch.empty_like(gradient) if index in self._chain.outputs else gradient
                gradient = torch.ops.aten.threshold_backward.grad_input(
                    gradient, left[index], 0, grad_input=into
                )
            of_weights.append(torch.mm(gradient.t(), read[index]).mul_(plan.ratio))
            bias = self._biases[index]
            if bias is not None:
                found = gradient.sum(0).mul_(plan.out)
                of_biases.append(torch.zeros_like(bias).index_copy_(0, plan.rows, found))
            if layer.source >= 0:
                into = self._buffer(index, "g", len(gradient), plan.shape[1], gradient)
                back = torch.mm(gradient, weights[index], out=into)
                if plan.shared is not None:
                    place, coarser = plan.shared
                    if layer.source not in arrived:
                        arrived[layer.source] = torch.zeros_like(left[layer.source])
                    arrived[layer.source].index_add_(1, place, back.mul_(coarser))
                else:
                    arrived[layer.source] = back
        flat = torch.cat([each.reshape(-1) for each in reversed(of_weights)])
        whole = flat.new_zeros(self._size).index_copy_(0, self._pick, flat)
        parts = torch.split(whole, [w.numel() for w in self._weights])
        shaped = [part.view_as(w) for part, w in zip(parts, self._weights, strict=True)]
        return [*shaped, *reversed(of_biases)]


class _Pass(torch.autograd.Function):
    """The pass as autograd knows it."""

    @staticmethod
    def forward(ctx: Any, straight: StraightThrough, x: Tensor, *parameters: Tensor) -> Any:
        """Return (N, outputs) of every output."""
        outputs, *ctx.kept = straight.forward(x)
        ctx.straight = straight
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return no gradient of the rows, and those of the parameters."""
        return None, None, *ctx.straight.backward(gradients, *ctx.kept)


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b


@contextmanager
def computing(chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> Iterator[None]:
    """While open, `model` is trained through the rounding to its numbers."""
    # On the instance, so that type, parameters and hooks of the model stay what they are.
    model.forward = StraightThrough(chain, model, numbers)
    try:
        yield
    finally:
        del model.forward
