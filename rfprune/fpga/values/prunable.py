"""The values of a planned network's weights and the types of its places, as the loop sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import fx, nn

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.layers import Plan
from rfprune.fpga.values.costs import value_costs
from rfprune.fpga.values.numbers import ValueNumbers, finals, training_graph
from rfprune.fpga.values.places import typed_sites
from rfprune.fpga.values.readers import pairs_of
from rfprune.fpga.values.rung import ValueRung
from rfprune.fpga.weight_values import WeightValues
from rfprune.pruning import Purpose, Session, Trained
from rfprune.spec.pruning import PruneSpec

__all__ = ["ValuePrunable"]

#: The first budgets fall from so much above them, and from this part of the dense network's at
#: least: what is cut at once is chosen while nothing makes up for anything.
_FROM_ABOVE, _FROM_DENSE = 1.3, 0.25


class ValuePrunable(WeightValues):
    """The weights and types of a planned network."""

    numbers: ValueNumbers

    def __init__(
        self,
        file: Plan,
        spec: PruneSpec,
        dense: dict[str, float],
        built: Callable[[nn.Module], FloatArray],
        *,
        quickly: bool,
    ) -> None:
        """Take a network planned in the types of the file.

        Args:
            file: the plan.
            spec: the settings.
            dense: what the dense network takes, by resource.
            built: returns (R,) what a network takes in its present numbers.
            quickly: whether `built` is quick enough to be asked within a step.
        """
        super().__init__(
            spec, {layer.name: tuple(layer.layer.weight_shape) for layer in file.layers}
        )
        self.file, self._dense = file, dense
        self.typed = typed_sites(file.network, file.hardware, spec.widths.activations)
        self.numbers = ValueNumbers.widest(
            file, self.typed, spec.widths.digits, spec.widths.fraction_bits
        )
        self._built, self._quickly = built, quickly

    @property
    def plan(self) -> Plan:
        """The plan with the types that are chosen; that of the file before anything is."""
        if not self.numbers.chosen:
            return self.file
        return self.numbers.planned(self.file, self.typed, room=False)

    @property
    def dense(self) -> dict[str, float]:
        """What the dense network takes, by the estimator's rules."""
        return self._dense

    def counts_all_of(self, resource: str) -> bool:
        """Return whether the weights hold all of a resource; ReLUs and sums hold LUTs."""
        return resource == "dsp"

    def why_not_less(self, resource: str, budget: float) -> str:
        """Return what holds more of a resource than a budget that cannot be reached."""
        return f"weights have no {resource} to give up"

    def cost(self, keep: BoolArray) -> FloatArray:
        """Return (G, R) what each weight holds with all of its digits, in the types of the file."""
        most = self.spec.widths.digits
        parts = []
        for layer in self.file.layers:
            each = value_costs(layer, [layer.data.width], most)[0].max(axis=0)
            parts.append(np.broadcast_to(each, (layer.layer.n_weights, len(RESOURCES))))
        return np.concatenate(parts)

    @contextmanager
    def rounded(self, model: nn.Module) -> Iterator[None]:
        """While open, `model` trains in its numbers, once some are chosen."""
        if not self.numbers.chosen:
            yield
            return
        graphs = _Graphs(model, self)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return graphs.now()(*args, **kwargs)

        # On the instance, so that type, parameters and hooks of the model stay what they are.
        model.forward = forward
        try:
            yield
        finally:
            del model.forward

    def final(self, model: nn.Module) -> nn.Module:
        """Return a copy with the constants that are built as its weights; itself before that."""
        return finals(model, self.numbers, self.file) if self.numbers.chosen else model

    def deployed(self, model: nn.Module) -> nn.Module:
        """Return `model` as it will be built."""
        return deployed(self.final(model), self.plan)

    def level(
        self, session: Session, step: int, budget: FloatArray, before: FloatArray | None
    ) -> Trained:
        """Train one rung: choose under the model of costs, then correct it by what is built."""
        numbers, model = self.numbers, session.model
        first = numbers.reached
        if not numbers.chosen:
            dense = np.array([self._dense[name] for name in RESOURCES])
            end = np.where(np.isfinite(budget), budget, 0.0)
            first = np.maximum(end * _FROM_ABOVE, _FROM_DENSE * dense)
            numbers.reached = np.maximum(first, 1.0)
        graphs = _Graphs(model, self)
        rung = ValueRung(
            self.file,
            self.typed,
            pairs_of(self.file.network),
            model,
            numbers,
            session.data,
            session.task,
            self.spec.widths,
            budget,
            first,
            graphs.now,
            (lambda: self._built(model)) if self._quickly else None,
            session.seed(step, Purpose.SELECT),
        )
        self.fit(session, step, rung, rung.penalty)
        rung.finish()
        return self._trained(session, rung, budget)

    def _trained(self, session: Session, rung: ValueRung, budget: FloatArray) -> Trained:
        """Correct the model of costs by what is built, and return what was trained."""
        choice, limited = rung.choice, np.isfinite(budget)
        assert choice is not None
        built, numbers = self._built(session.model), self.numbers
        ratio = np.where(built > 0, choice.cost / np.maximum(built, 1e-9), numbers.scale)
        numbers.scale = np.where(limited, ratio, numbers.scale)
        # Positive, so that it says that something was chosen.
        numbers.reached = np.maximum(np.where(limited, budget * numbers.scale, 0.0), 1e-9)
        final = self.final(session.model)
        masks = {
            layer.name: (layer.layer.weight_of(final) != 0).float() for layer in self.file.layers
        }
        session.masks = masks
        # In loss per unit that is built, not per unit of the model.
        return Trained(masks, choice.prices * numbers.scale, tuple(rung.gaps))


class _Graphs:
    """The training graph of a network in its present numbers, made anew when types change."""

    def __init__(self, model: nn.Module, prunable: ValuePrunable) -> None:
        self._model, self._prunable = model, prunable
        self._known: list[int] | None = None

    def now(self) -> fx.GraphModule:
        """Return it."""
        numbers = self._prunable.numbers
        types = numbers.fraction.tolist()
        if types != self._known:
            self._known = types
            self._graph = training_graph(
                self._model, numbers, self._prunable.file, self._prunable.typed
            )
        # Modules that lowering has made are not among the model's, and would stay in their mode.
        for module in self._graph.meta["made"]:
            module.training = self._model.training
        return self._graph
