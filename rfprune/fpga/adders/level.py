"""One rung of the ladder: values and widths are chosen again and again while the budget falls.

What a weight or an activation is worth is second order: an entry q loses ``1/2 F (w - q)^2`` with F
the diagonal of the Fisher matrix per row (LeCun et al. 1990; Theis et al. 2018), of a weight
``E[(d_i a_j)^2]`` by one product per layer, less what the neuron's bias makes up for. Rounding an
activation to f bits loses ``1/2 H 4^-f / 12``, the variance of a uniform error. The budget falls
over the first part of the step, the choice is renewed over most of it, and stays for the rest. A
weight that is zero decays slowly and can come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray
from rfprune.data import Dataset
from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.digits import digit_counts, digit_levels
from rfprune.fpga.adders.numbers import WIDTHS, CircuitNumbers, Seen, calibrate, forward
from rfprune.fpga.adders.rung import KEPT, SLACK, Rung
from rfprune.methods.widths import LayerMenus, WidthChoice, choose_widths
from rfprune.spec.widths import WidthsSpec
from rfprune.tasks import Task

__all__ = ["Level"]

#: Rows that a Fisher matrix takes.
_FISHER_ROWS = 2048
#: A bit of a hidden activation costs so much by itself: its ReLU.
_OWN = 1.5
_NEVER_TAKEN = 1e30


@dataclass
class Level(Rung):
    """One step; `before` and `after` are called around every update.

    Attributes:
        chain, model, numbers: the network.
        data: the rows.
        task: what the training is for.
        spec: the settings.
        budget: at the end, in the units of the model of costs.
        first: at the start.
        seed: of the rows that a Fisher matrix takes, and of its labels.
        choice: the last one.
    """

    chain: Chain
    model: nn.Module
    numbers: CircuitNumbers
    data: Dataset
    task: Task
    spec: WidthsSpec
    budget: float
    first: float
    seed: int
    choice: WidthChoice | None = None
    gaps: list[float] = field(default_factory=list)
    _fisher: list[FloatArray] = field(default_factory=list)
    _input_fisher: list[FloatArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Seed what is drawn."""
        self._begin(self.seed)

    def calibrate(self, x: Any, widens: bool = False) -> None:
        """Set the integer bits so that none of these rows wraps; bits stay if it `widens`."""
        calibrate(self.chain, self.model, self.numbers, x, widens)

    def _weights(self) -> list[Tensor]:
        return [layer.of(self.model).weight for layer in self.chain.layers]

    def _measure_fisher(self) -> None:
        """Take the Fisher matrices on some rows, and mix them with those before."""
        rows = len(self.data.x_train)
        pick = torch.randint(rows, (min(rows, _FISHER_ROWS),), generator=self._random)
        x = self.data.x_train[pick]
        y = self.data.y_train[pick]
        seen = Seen([], [])
        output = forward(self.chain, self.model, self.numbers, x, wraps=False, seen=seen)
        y = self._drawn(output, y)
        loss = self.task.loss(self.task.judged(output, x), self.task.aims(y)) * len(x)
        keep = [*seen.inputs, *seen.outputs]
        gradients = torch.autograd.grad(loss, keep)
        half = len(seen.inputs)
        for index in range(half):
            a, da, dz = seen.inputs[index].detach(), gradients[index], gradients[half + index]
            biased = self.chain.layers[index].of(self.model).bias is not None
            square = _apart_from_bias(a, dz) if biased else (dz**2).T @ a**2 / len(x)
            found = _numbers(square), _numbers((da**2).mean(0))
            if len(self._fisher) <= index:
                self._fisher.append(found[0])
                self._input_fisher.append(found[1])
            else:
                before = self._fisher[index], self._input_fisher[index]
                self._fisher[index] = KEPT * before[0] + (1 - KEPT) * found[0]
                self._input_fisher[index] = KEPT * before[1] + (1 - KEPT) * found[1]

    def _choose_at(self, share: float, last: bool) -> None:
        """Choose under the budget at `share` of its fall."""
        now = self.first * (self.budget / self.first) ** share
        self._choose(now, 0.0 if last else SLACK)

    def _choose(self, budget: float, slack: float) -> None:
        """Choose digits and widths at once, and take them over."""
        menus = [self._menus(index) for index in range(len(self.chain.layers))]
        unread = self._without_unread(menus)
        near = None if self.choice is None or not self.choice.price else self.choice.price
        choice = choose_widths(menus, budget, near=near, slack=slack)
        again = self._without_unread(menus, choice)
        if any((a != b).any() for a, b in zip(unread, again, strict=True)):
            choice = choose_widths(menus, budget, near=choice.price or None, slack=slack)
        self.choice = choice
        self.gaps.append(choice.gap)
        self._factor, self._left = [], []
        for index, (layer, menu) in enumerate(zip(self.chain.layers, menus, strict=True)):
            self.numbers.digits[index] = torch.from_numpy(choice.entry[index])
            if self.spec.activations:
                self.numbers.fraction[index] = torch.from_numpy(WIDTHS[choice.width[index]])
            bits = np.take_along_axis(menu.bits, choice.width[index][None], 0)[0]
            weight = layer.of(self.model).weight
            cost = torch.from_numpy(bits + 1.0).to(weight)
            # In the shapes of the weights, so that one operation does for all layers.
            pressed = (self.spec.l1 * cost / cost.mean()).expand_as(weight)
            self._factor.append(pressed.contiguous())
            zero = (self.numbers.digits[index] == 0).to(weight)
            self._left.append(1 - self.spec.decay * zero)

    def _menus(self, index: int) -> LayerMenus:
        """Return the menus of one layer as it is now."""
        layer, numbers = self.chain.layers[index], self.numbers
        weight = layer.of(self.model).weight.detach()
        levels = digit_levels(weight, numbers.most, numbers.weight_fraction).cpu().numpy()
        error = (levels - weight.cpu().numpy()[None]).astype(np.float64)
        integer = numbers.integer[index].numpy()
        offered = WIDTHS if self.spec.activations else np.array([numbers.weight_fraction])
        bits = integer[None] + offered[:, None] + float(layer.signed)
        worth = 0.5 * self.spec.activation_weight * self._input_fisher[index]
        # Widths without a bit are not offered.
        rounding = np.where(bits > 0, worth * 4.0 ** -offered[:, None] / 12, _NEVER_TAKEN)
        # What is always zero is rounded to nothing, for nothing.
        never = ~(bits > 0).any(axis=0)
        rounding[:, never], bits = 0.0, np.maximum(bits, 0.0)
        return LayerMenus(
            loss=0.5 * (self._fisher[index] + 1e-12) * error**2,
            digits=digit_counts(levels.astype(np.float64)),
            bits=bits,
            rounding=rounding,
            own=0.0 if layer.source < 0 else _OWN,
        )

    def _without_unread(
        self, menus: list[LayerMenus], choice: WidthChoice | None = None
    ) -> list[FloatArray]:
        """Let what feeds a neuron that nobody reads lose and cost nothing; return who is unread.

        Without a choice those are the ones that nobody reads now.
        """
        entry = self.numbers.digits if choice is None else choice.entry
        found: list[FloatArray] = []
        for index, menu in enumerate(menus):
            readers = self.chain.readers(index)
            if not readers:
                continue
            unread = np.ones(menu.loss.shape[1], dtype=bool)
            for reader in readers:
                read = np.asarray(entry[reader])
                taken = np.take_along_axis(menus[reader].digits, read[None], 0)[0]
                unread &= taken.sum(axis=0) == 0
            menu.loss[:, unread] = 0.0
            menu.digits[:, unread] = 0.0
            found.append(unread)
        return found


def _apart_from_bias(a: Tensor, dz: Tensor) -> Tensor:
    """Return (n_out, n_in) the Fisher matrix where a neuron's bias makes up for means.

    The Schur complement of the bias: ``E[g^2 a^2] - E[g^2 a]^2 / E[g^2]``. What a weight adds on
    the average is learned by the bias within a few updates, and is not lost with the weight.

    Args:
        a: (N, n_in) what the layer reads.
        dz: (N, n_out) gradients per row of what it puts out.
    """
    square = (dz**2).T
    rows = len(a)
    mixed = square @ a
    alone = square.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return (square @ a**2 - mixed**2 / alone).clamp_min(0.0) / rows


def _numbers(of: Tensor) -> FloatArray:
    return of.cpu().numpy().astype(np.float64)
