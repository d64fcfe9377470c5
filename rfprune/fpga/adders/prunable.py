"""The values of a network's weights and activations, as the pruning loop sees them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.adders.chain import Chain, fold_norms
from rfprune.fpga.adders.descent import Descent
from rfprune.fpga.adders.digits import digit_counts
from rfprune.fpga.adders.graph import build_graph, mapped_lut
from rfprune.fpga.adders.level import Level
from rfprune.fpga.adders.numbers import Circuit, CircuitNumbers, calibrate, constants
from rfprune.fpga.adders.straight import computing
from rfprune.fpga.estimators.da4ml import AdderGraph
from rfprune.fpga.weight_values import WeightValues
from rfprune.pruning import Masks, Purpose, Session, Trained
from rfprune.spec.pruning import PruneSpec
from rfprune.training import aims

__all__ = ["AdderPrunable"]

_LUT = RESOURCES.index("lut")
#: Bits of an activation before anything is chosen, and of the adder that a digit feeds.
_DENSE_BITS = 12.0
#: The first budget falls from so much above it, and from this part of the dense network's at least:
#: what is cut at once is chosen while nothing makes up for anything, and may be a whole layer.
_FROM_ABOVE, _FROM_DENSE = 1.3, 0.25
#: Rows that the first integer bits are set by.
_CALIBRATED = 20_000


class AdderPrunable(WeightValues):
    """The weights and activations of a chain, as a graph of adders has them."""

    numbers: CircuitNumbers

    def __init__(self, chain: Chain, spec: PruneSpec) -> None:
        """Take the layers and the settings."""
        super().__init__(spec, {layer.name: (layer.n_out, layer.n_in) for layer in chain.layers})
        self.chain = chain
        self.numbers = CircuitNumbers.widest(chain, spec.widths.digits, spec.widths.fraction_bits)
        self._graph: tuple[bytes, AdderGraph] | None = None

    @property
    def dense(self) -> dict[str, float]:
        """What every weight holds with all of its digits, reading activations of full width."""
        whole = float(self.counts.sum()) * self.spec.widths.digits * (_DENSE_BITS + 1)
        return {name: whole if name == "lut" else 0.0 for name in RESOURCES}

    def counts_all_of(self, resource: str) -> bool:
        """Return whether the graph holds all of a resource."""
        return resource == "lut"

    def why_not_less(self, resource: str, budget: float) -> str:
        """Return what holds more of a resource than a budget that cannot be reached."""
        return f"a graph of adders has no {resource} to give up"

    def cost(self, keep: BoolArray) -> FloatArray:
        """Return (G, R) what each weight holds with all of its digits."""
        cost = np.zeros((len(keep), len(RESOURCES)))
        cost[:, _LUT] = self.spec.widths.digits * (_DENSE_BITS + 1)
        return cost

    def rounded(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While open, `model` trains in its numbers, once some are chosen."""
        if not self.numbers.reached:
            return nullcontext()
        return computing(self.chain, model, self.numbers)

    def deployed(self, model: nn.Module) -> nn.Module:
        """Return `model` as its circuit computes it, wrapping; itself before anything is chosen."""
        return Circuit(self.chain, model, self.numbers) if self.numbers.reached else model

    def graph(self, model: nn.Module) -> AdderGraph:
        """Return the adder graph of a network in its numbers; that of the last one is kept."""
        parts = constants(self.chain, model, self.numbers)
        key = b"".join([*(w.tobytes() + b.tobytes() for _, w, b in parts)])
        key += b"".join(v.numpy().tobytes() for v in self.numbers.saved().values())
        if self._graph is None or self._graph[0] != key:
            self._graph = key, build_graph(self.chain, model, self.numbers)
        return self._graph[1]

    def model_cost(self, model: nn.Module) -> float:
        """Return digits times bits read, of all weights: what budgets are held in on the way."""
        found = 0.0
        for index, (layer, weight, _) in enumerate(constants(self.chain, model, self.numbers)):
            bits = self.numbers.bits(index, layer.signed) if self.numbers.reached else _DENSE_BITS
            found += float((digit_counts(weight) * (bits + 1)).sum())
        return found

    def level(
        self, session: Session, step: int, budget: FloatArray, before: FloatArray | None
    ) -> Trained:
        """Train one rung: choose under the model of costs, then correct it by the built graph."""
        numbers = self.numbers
        end = float(budget[_LUT]) * numbers.scale
        first = self.begun(session, end)
        level = Level(
            self.chain,
            session.model,
            numbers,
            session.data,
            session.task,
            self.spec.widths,
            end,
            max(first, end),
            session.seed(step, Purpose.SELECT),
        )
        self.fit(session, step, level, level.penalty)
        self.descend(session, step)
        self.calibrate(session)
        numbers.reached = end
        assert level.choice is not None
        # In the model's units the choice also holds the activations' own cost.
        self.correct(session, level.choice.cost)
        masks = self.live_masks(session)
        prices = np.zeros(len(RESOURCES))
        # In loss per LUT of the graph, not per unit of the model.
        prices[_LUT] = level.choice.price * numbers.scale
        return Trained(masks, prices, tuple(level.gaps))

    def descend(self, session: Session, step: int) -> None:
        """Try the neighbours of every value on the training rows, where these are few enough."""
        data, task, most = session.data, session.task, self.spec.widths.descent
        if not most or not isinstance(data.x_train, Tensor):
            return
        search = Descent(self.chain, session.model, self.numbers)
        if search.weights > most:
            return
        x, weight = data.x_train, task.weights(data.y_train, data.w_train)
        target = aims(task, data.y_train, self.how(session, step))
        search.run(x, lambda output: task.loss(task.judged(output, x), target, weight))

    def begun(self, session: Session, end: float) -> float:
        """Return where a rung's budget falls from, in the model's units; fold norms at the first.

        Args:
            session: whose model is trained.
            end: the budget at the end of the rung.
        """
        numbers = self.numbers
        if numbers.reached:
            return numbers.reached
        first = max(end * _FROM_ABOVE, _FROM_DENSE * self.model_cost(session.model))
        fold_norms(self.chain, session.model)
        calibrate(self.chain, session.model, numbers, session.data.x_train[:_CALIBRATED])
        numbers.reached = first
        return first

    def calibrate(self, session: Session) -> None:
        """Set the integer bits so that no training or validation row wraps."""
        data = session.data
        for rows in (data.x_train, data.x_val):
            widens = rows is data.x_val
            calibrate(self.chain, session.model, self.numbers, rows, widens)

    def correct(self, session: Session, cost: float) -> None:
        """Correct the model of costs by the built graph."""
        self.numbers.scale = cost / max(mapped_lut(self.graph(session.model)), 1)

    def live_masks(self, session: Session) -> Masks:
        """Return which weights are not zero, which is all that the session is told."""
        masks = {
            layer.name: torch.from_numpy(weight != 0).float()
            for layer, weight, _ in constants(self.chain, session.model, self.numbers)
        }
        session.masks = masks
        return masks
