"""Values are changed one by one where the training loss itself gets less: the end of a rung.

Straight gradients know nothing of steps: where a weight is a sum of one or two digits its
neighbours are far away, and the nearest value is often not the best one. Once all is chosen, each
weight and bias is therefore tried at its neighbours on all training rows (coordinate descent over
whole numbers); a change that lowers the loss stays. A weight's neighbours have as many digits as it
has, so that the circuit stays as large.

What is tried changes one neuron. What the layers behind it put out is computed anew from what was
there before, for the neurons alone that somebody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.digits import digit_counts, level_table
from rfprune.fpga.adders.numbers import CircuitNumbers

__all__ = ["Descent"]

#: A change has to lower the loss by this part of it: less is what sums of rows are rounded to.
_LEAST = 1e-6


@dataclass
class _Layer:
    """What somebody reads of one layer: R of its neurons, C of its inputs.

    Attributes:
        weight: (R, C) values.
        bias: (R,) values.
        rows: (R,) which of its neurons these are.
        columns: (C,) which of its inputs.
        step: (C,) last bit of each input.
        grid: (R,) last bit of each bias.
        relu: a ReLU comes behind it.
        read: (N, C) what it reads.
        left: (N, R) what it puts out, before its ReLU.
    """

    weight: Tensor
    bias: Tensor
    rows: Tensor
    columns: Tensor
    step: Tensor
    grid: Tensor
    relu: bool
    read: Tensor = field(default_factory=lambda: torch.empty(0))
    left: Tensor = field(default_factory=lambda: torch.empty(0))

    def out(self) -> Tensor:
        """Return (N, R) what others read of it, before they round it."""
        return torch.relu(self.left) if self.relu else self.left


class Descent:
    """The search through one network; `run` changes the model's weights and biases in place.

    Attributes:
        weights: that are not zero, of neurons that somebody reads.
    """

    def __init__(self, chain: Chain, model: nn.Module, numbers: CircuitNumbers) -> None:
        """Take the network and its numbers."""
        self._chain, self._model, self._numbers = chain, model, numbers
        self._neighbours = _neighbours(numbers.most, numbers.weight_fraction)
        with torch.no_grad():
            values = [
                numbers.weight(index, layer.of(model)) for index, layer in enumerate(chain.layers)
            ]
            nonzero = [(value != 0).cpu() for value in values]
            live = [chain.live(index, nonzero) for index in range(len(values))]
            self._layers = [self._taken(index, value, live) for index, value in enumerate(values)]
        self.weights = sum(int((layer.weight != 0).sum()) for layer in self._layers)

    def _taken(self, index: int, value: Tensor, live: list[Tensor]) -> _Layer:
        layer, numbers = self._chain.layers[index], self._numbers
        rows = live[index]
        columns = torch.arange(layer.n_in) if layer.source < 0 else live[layer.source]
        bias = numbers.bias(index, layer.bias_of(self._model)).detach()
        grid = torch.exp2(-numbers.bias_fraction(index).to(bias)).expand(layer.n_out)
        step = torch.exp2(-numbers.fraction[index].to(value))
        return _Layer(
            weight=value[rows][:, columns],
            bias=bias[rows].clone(),
            rows=rows,
            columns=columns,
            step=step[columns],
            grid=grid[rows],
            relu=layer.relu,
        )

    def run(self, x: Tensor, loss: Callable[[Any], Tensor]) -> float:
        """Go through all weights and biases once, from the last layer; return the loss.

        Args:
            x: (N, ...) rows.
            loss: of what the network puts out for them.
        """
        with torch.no_grad():
            self._forward(x.flatten(1))
            best = float(loss(self._outputs({})))
            for index in reversed(range(len(self._layers))):
                for row in range(len(self._layers[index].rows)):
                    best = self._improved(index, row, best, loss)
            self._put_back()
        return best

    def _forward(self, x: Tensor) -> None:
        """Compute what every layer reads and puts out."""
        for index, layer in enumerate(self._layers):
            source = self._chain.layers[index].source
            given = x[:, layer.columns] if source < 0 else self._layers[source].out()
            layer.read = torch.floor(given / layer.step) * layer.step
            layer.left = layer.read @ layer.weight.t() + layer.bias

    def _outputs(self, changed: dict[int, Tensor]) -> Any:
        """Return what the network puts out, where some layers put out something else."""
        found = []
        for index in self._chain.outputs:
            layer = self._layers[index]
            left = changed.get(index, layer.left)
            found.append(torch.relu(left) if layer.relu else left)
        return self._chain.packed(found)

    def _improved(self, index: int, row: int, best: float, loss: Callable[[Any], Tensor]) -> float:
        """Try the neighbours of one neuron's weights and bias; return the loss."""
        layer = self._layers[index]
        for column, value in self._tried(index, row):
            # What was taken meanwhile has other neighbours.
            now = layer.bias[row] if column < 0 else layer.weight[row, column]
            by = value - float(now)
            moved = layer.left[:, row] + (by if column < 0 else by * layer.read[:, column])
            left, read = self._behind(index, row, moved)
            reached = float(loss(self._outputs(left)))
            if reached >= best - _LEAST * abs(best):
                continue
            best = reached
            if column < 0:
                layer.bias[row] = value
            else:
                layer.weight[row, column] = value
            for other, what in left.items():
                self._layers[other].left = what
            for other, what in read.items():
                self._layers[other].read = what
        return best

    def _tried(self, index: int, row: int) -> Iterator[tuple[int, float]]:
        """Yield what a neuron's weights by column, and its bias by -1, may be instead.

        What was taken is followed by the next one in the same direction.
        """
        layer = self._layers[index]
        for column in layer.weight[row].nonzero().flatten().tolist():
            for after in (False, True):
                before = now = float(layer.weight[row, column])
                while (value := self._neighbours[now][after]) is not None:
                    yield column, value
                    if float(layer.weight[row, column]) == now:
                        break
                    now = value
                if now != before:
                    break
        if self._chain.layers[index].of(self._model).bias is None:
            return
        for grid in (-float(layer.grid[row]), float(layer.grid[row])):
            before = now = float(layer.bias[row])
            while True:
                yield -1, now + grid
                if float(layer.bias[row]) == now:
                    break
                now += grid
            if now != before:
                break

    def _behind(
        self, index: int, row: int, moved: Tensor
    ) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return what layers put out and read once one neuron puts out (N,) `moved`."""
        own = self._layers[index]
        left = {index: own.left.clone()}
        left[index][:, row] = moved
        read: dict[int, Tensor] = {}
        for other in range(index + 1, len(self._layers)):
            layer, source = self._layers[other], self._chain.layers[other].source
            if source not in left:
                continue
            if source == index:
                # One column alone is another one.
                step = layer.step[row]
                given = torch.relu(moved) if own.relu else moved
                column = torch.floor(given / step) * step
                by = column - layer.read[:, row]
                read[other] = layer.read.clone()
                read[other][:, row] = column
                left[other] = torch.addr(layer.left, by, layer.weight[:, row])
            else:
                before = self._layers[source]
                given = torch.relu(left[source]) if before.relu else left[source]
                read[other] = torch.floor(given / layer.step) * layer.step
                left[other] = torch.addmm(layer.bias, read[other], layer.weight.t())
        return left, read

    def _put_back(self) -> None:
        """Make the values that were found the weights and biases of the model."""
        for index, layer in enumerate(self._layers):
            module = self._chain.layers[index].of(self._model)
            value = module.weight[layer.rows][:, layer.columns]
            # What is zero keeps the weight from which it can come back.
            found = torch.where(layer.weight != 0, layer.weight, value)
            module.weight[layer.rows[:, None], layer.columns[None]] = found
            if module.bias is not None:
                module.bias[layer.rows] = layer.bias


@lru_cache(maxsize=4)
def _neighbours(most: int, fraction: int) -> dict[float, tuple[float | None, float | None]]:
    """Return for every value the next smaller and larger one with as many digits, or None."""
    values = np.unique(level_table(most, fraction).numpy())
    counts = digit_counts(values.astype(np.float64))
    found: dict[float, tuple[float | None, float | None]] = {}
    for digits in range(1, most + 1):
        alike = [None, *map(float, values[counts == digits]), None]
        for before, value, after in zip(alike, alike[1:], alike[2:], strict=False):
            assert value is not None
            found[value] = before, after
    return found
