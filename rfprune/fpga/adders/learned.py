"""The method ``ebops``: widths learned by gradient, on the ladder that `widths` walks down.

The price of a bit operation rises while a network has more of them than the falling budget says,
and falls while it has fewer, so that a rung ends where it should without a ramp that has to be
guessed. Bits are learned over the part of a step in which others choose; then they stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray
from rfprune.core.quantities import RESOURCES
from rfprune.data import Dataset
from rfprune.fpga.adders.bits import BitNumbers
from rfprune.fpga.adders.chain import Chain
from rfprune.fpga.adders.numbers import calibrate, forward
from rfprune.fpga.adders.prunable import AdderPrunable
from rfprune.fpga.adders.rung import CALIBRATED, RENEWED, AveragedWeights
from rfprune.pruning import Session, Trained
from rfprune.spec.pruning import PruneSpec

__all__ = ["LearnedPrunable"]

_LUT = RESOURCES.index("lut")
#: The price stays within these, whatever the budget.
_LEAST, _MOST = 1e-12, 1.0


@dataclass
class _LearnedRung:
    """One step; `before` and `after` are called around every update.

    Attributes:
        chain, model, numbers: the network.
        data: the rows.
        prune: the settings.
        budget: bit operations at the end.
        first: at the start.
    """

    chain: Chain
    model: nn.Module
    numbers: BitNumbers
    data: Dataset
    prune: PruneSpec
    budget: float
    first: float

    def __post_init__(self) -> None:
        """Make what trains the bits."""
        self._bits: list[Tensor] = [*self.numbers.weight_bits, *self.numbers.read_bits]
        self._optimizer = torch.optim.Adam(self._bits, lr=self.prune.ebops.rate)
        self._average = AveragedWeights(self.model, self.prune.widths.average)

    def before(self, update: int, updates: int) -> None:
        """Let bits be learned, or not any more."""
        widths = self.prune.widths
        learns = update < widths.choosing * updates
        for part in self._bits:
            part.requires_grad_(learns)
        if update % (widths.reselect_every * RENEWED) == 0:
            calibrate(self.chain, self.model, self.numbers, self.data.x_train[:CALIBRATED])

    def after(self, update: int, updates: int) -> None:
        """Step the bits at the present price, and correct the price."""
        if self._bits[0].requires_grad:
            used = self.numbers.operations(self.chain, self.model)
            share = min(1.0, update / max(1.0, self.prune.widths.falling * updates))
            wanted = self.first * (self.budget / self.first) ** share
            over = math.log(max(float(used.detach()), 1.0) / wanted)
            factor = math.exp(self.prune.ebops.gain * max(-1.0, min(1.0, over)))
            self.numbers.price = max(_LEAST, min(_MOST, self.numbers.price * factor))
            (self.numbers.price * used).backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._optimizer.zero_grad()
            self.numbers.settle()
        self._average.after(update, updates)

    def end(self) -> None:
        """Leave the bits as they are rounded to."""
        for part in self._bits:
            part.requires_grad_(False)
            part.round_()


class LearnedPrunable(AdderPrunable):
    """Every weight and activation has bits of its own, which are trained with the weights."""

    numbers: BitNumbers

    def __init__(self, chain: Chain, spec: PruneSpec) -> None:
        """Take the layers and the settings."""
        super().__init__(chain, spec)
        widths = spec.widths
        found = BitNumbers.widest(chain, widths.digits, widths.fraction_bits)
        assert isinstance(found, BitNumbers)
        found.begin(spec.ebops.first_bits)
        self.numbers = found

    @contextmanager
    def rounded(self, model: nn.Module) -> Iterator[None]:
        """While open, `model` trains in its bits, once a ladder has begun."""
        if not self.numbers.reached:
            yield
            return
        # On the instance, so that type, parameters and hooks of the model stay what they are.
        model.forward = partial(forward, self.chain, model, self.numbers, wraps=False)
        try:
            yield
        finally:
            del model.forward

    def model_cost(self, model: nn.Module) -> float:
        """Return the effective bit operations: what budgets are held in on the way."""
        with torch.no_grad():
            return float(self.numbers.operations(self.chain, model))

    def level(
        self, session: Session, step: int, budget: FloatArray, before: FloatArray | None
    ) -> Trained:
        """Train one rung: weights and bits together, then the weights alone."""
        end = float(budget[_LUT]) * self.numbers.scale
        first = self.begun(session, end)
        rung = _LearnedRung(
            *(self.chain, session.model, self.numbers, session.data, self.spec),
            *(end, max(first, end)),
        )
        self.fit(session, step, rung, None)
        rung.end()
        self.calibrate(session)
        self.numbers.reached = end
        self.correct(session, self.model_cost(session.model))
        masks = self.live_masks(session)
        prices = np.zeros(len(RESOURCES))
        # In loss per LUT of the graph, not per bit operation. Nothing is proven of a gradient.
        prices[_LUT] = self.numbers.price * self.numbers.scale
        return Trained(masks, prices, ())
