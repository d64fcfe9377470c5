"""The values of a network's weights and activations, as the pruning loop sees them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.adders.chain import Chain, fold_norms
from rfprune.fpga.adders.digits import digit_counts
from rfprune.fpga.adders.graph import build_graph, mapped_lut
from rfprune.fpga.adders.level import Level
from rfprune.fpga.adders.numbers import Circuit, CircuitNumbers, calibrate, constants
from rfprune.fpga.adders.straight import computing
from rfprune.fpga.estimators.da4ml import AdderGraph
from rfprune.pruning import Masks, Prunable, Purpose, Session, Trained, Values
from rfprune.spec.pruning import PruneSpec
from rfprune.training import Fit
from rfprune.training.penalty import Penalty, Watcher

__all__ = ["AdderPrunable", "rung_epochs"]

_LUT = RESOURCES.index("lut")
#: Bits of an activation before anything is chosen, and of the adder that a digit feeds.
_DENSE_BITS = 12.0
#: The first budget falls from so much above it, and from this part of the dense network's at least:
#: what is cut at once is chosen while nothing makes up for anything, and may be a whole layer.
_FROM_ABOVE, _FROM_DENSE = 1.3, 0.25
#: Rows that the first integer bits are set by.
_CALIBRATED = 20_000


class AdderPrunable(Prunable):
    """Every weight is a group of its own, which has a menu of values."""

    coupled: ClassVar[bool] = False
    zeroes: ClassVar[bool] = True

    def __init__(self, chain: Chain, spec: PruneSpec) -> None:
        """Take the layers and the settings."""
        self.chain, self.spec = chain, spec
        self.resources = RESOURCES
        self.layers = tuple(layer.name for layer in chain.layers)
        self.sizes = (1,) * len(self.layers)
        self.weights = ()
        self.numbers = CircuitNumbers.widest(chain, spec.widths.digits, spec.widths.fraction_bits)
        self._graph: tuple[bytes, AdderGraph] | None = None

    @property
    def counts(self) -> IntArray:
        """(L,) weights of each layer."""
        return np.array([layer.n_in * layer.n_out for layer in self.chain.layers], dtype=np.int64)

    @property
    def floor(self) -> IntArray:
        """(L,) zeros: what nothing flows through is found by the tolerance."""
        return np.zeros(len(self.layers), dtype=np.int64)

    @property
    def fixed(self) -> FloatArray:
        """(R,) zeros."""
        return np.zeros(len(RESOURCES))

    @property
    def dense(self) -> dict[str, float]:
        """What every weight holds with all of its digits, reading activations of full width."""
        whole = float(self.counts.sum()) * self.spec.widths.digits * (_DENSE_BITS + 1)
        return {name: whole if name == "lut" else 0.0 for name in RESOURCES}

    @property
    def least(self) -> dict[str, float]:
        """Nothing: every weight may be zero."""
        return dict.fromkeys(RESOURCES, 0.0)

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

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) the same of all weights in `keep` (G,)."""
        return np.asarray(self.cost(keep)[keep].sum(axis=0))

    def masks(self, keep: BoolArray) -> Masks:
        """Return (n_out, n_in) masks of the weights in `keep` (G,), by layer name."""
        parts = np.split(keep, np.cumsum(self.counts)[:-1])
        return {
            layer.name: torch.from_numpy(part.reshape(layer.n_out, layer.n_in)).float()
            for layer, part in zip(self.chain.layers, parts, strict=True)
        }

    def kept(self, masks: Masks | None) -> BoolArray:
        """Return (G,) which weights a mask leaves; None = all."""
        if masks is None:
            return np.ones(int(self.counts.sum()), dtype=bool)
        return np.concatenate([masks[name].cpu().numpy().reshape(-1) != 0 for name in self.layers])

    def by_parameter(self, masks: Masks) -> dict[str, Tensor]:
        """Nothing: weights that are zero now keep a value from which they can come back."""
        return {}

    def masked(self, model: nn.Module, masks: Masks) -> AbstractContextManager[Any]:
        """The numbers say what is zero."""
        return nullcontext()

    def rounded(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While open, `model` trains in its numbers, once some are chosen."""
        if not self.numbers.reached:
            return nullcontext()
        return computing(self.chain, model, self.numbers)

    def deployed(self, model: nn.Module) -> nn.Module:
        """Return `model` as its circuit computes it, wrapping; itself before anything is chosen."""
        return Circuit(self.chain, model, self.numbers) if self.numbers.reached else model

    def values(self) -> Values | None:
        """Return the numbers as tensors by name."""
        return self.numbers.saved()

    def take(self, values: Values | None) -> None:
        """Go back to numbers that were saved."""
        if values is not None:
            self.numbers.take(values)

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

    def fit(self, session: Session, step: int, watcher: Watcher, penalty: Penalty | None) -> None:
        """Train the epochs of a rung."""
        usual = self.spec.learning_rate_schedule or "cosine"
        how = Fit(
            epochs=rung_epochs(self.spec, step),
            learning_rate=self.spec.learning_rate or session.spec.train.learning_rate,
            train=session.spec.train.model_copy(update={"learning_rate_schedule": usual}),
            seed=session.seed(step, Purpose.MASKED),
            penalty=penalty,
            teacher=session.teacher,
            distillation=self.spec.distillation,
        )
        session.fit(replace(how, watcher=watcher), None)

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


def rung_epochs(spec: PruneSpec, step: int) -> int:
    """Return the epochs of a step, from 1: few while the network is large and loses little."""
    early = spec.widths.early
    risen = min(1.0, (step - 1) / max(spec.steps // 2, 1))
    return max(1, round(spec.epochs_per_step * (early + (1 - early) * risen)))
