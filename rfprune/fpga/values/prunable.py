"""The values of a planned network's weights and the types of its places, as the loop sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, fx, nn

from rfprune.core.arrays import BoolArray, FloatArray, IntArray
from rfprune.core.quantities import RESOURCES
from rfprune.fpga.adders.prunable import rung_epochs
from rfprune.fpga.fixed_point import deployed
from rfprune.fpga.layers import Plan
from rfprune.fpga.values.costs import value_costs
from rfprune.fpga.values.numbers import ValueNumbers, finals, training_graph
from rfprune.fpga.values.places import typed_sites
from rfprune.fpga.values.readers import pairs_of
from rfprune.fpga.values.rung import ValueRung
from rfprune.pruning import Masks, Prunable, Purpose, Session, Trained, Values
from rfprune.spec.pruning import PruneSpec
from rfprune.training import Fit

__all__ = ["ValuePrunable"]

#: The first budgets fall from so much above them, and from this part of the dense network's at
#: least: what is cut at once is chosen while nothing makes up for anything.
_FROM_ABOVE, _FROM_DENSE = 1.3, 0.25


class ValuePrunable(Prunable):
    """Every weight is a group of its own, which has a menu of values."""

    coupled: ClassVar[bool] = False
    zeroes: ClassVar[bool] = True

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
        self.file, self.spec, self._dense = file, spec, dense
        self.resources = RESOURCES
        self.layers = tuple(layer.name for layer in file.layers)
        self.sizes = (1,) * len(self.layers)
        self.weights = ()
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
    def counts(self) -> IntArray:
        """(L,) weights of each layer."""
        return np.array([layer.layer.n_weights for layer in self.file.layers], dtype=np.int64)

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
        """What the dense network takes, by the estimator's rules."""
        return self._dense

    @property
    def least(self) -> dict[str, float]:
        """Nothing: every weight may be zero."""
        return dict.fromkeys(RESOURCES, 0.0)

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

    def used(self, keep: BoolArray) -> FloatArray:
        """Return (R,) the same of all weights in `keep` (G,)."""
        return np.asarray(self.cost(keep)[keep].sum(axis=0))

    def masks(self, keep: BoolArray) -> Masks:
        """Return masks of the weights in `keep` (G,), by layer name."""
        parts = np.split(keep, np.cumsum(self.counts)[:-1])
        return {
            layer.name: torch.from_numpy(part.reshape(layer.layer.weight_shape)).float()
            for layer, part in zip(self.file.layers, parts, strict=True)
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

    def values(self) -> Values | None:
        """Return the numbers as tensors by name."""
        return self.numbers.saved()

    def take(self, values: Values | None) -> None:
        """Go back to numbers that were saved."""
        if values is not None:
            self.numbers.take(values)

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
        usual = self.spec.learning_rate_schedule or "cosine"
        how = Fit(
            epochs=rung_epochs(self.spec, step),
            learning_rate=self.spec.learning_rate or session.spec.train.learning_rate,
            train=session.spec.train.model_copy(update={"learning_rate_schedule": usual}),
            seed=session.seed(step, Purpose.MASKED),
            penalty=rung.penalty,
            teacher=session.teacher,
            distillation=self.spec.distillation,
        )
        session.fit(replace(how, watcher=rung), None)
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
