"""Planned networks whose weights take values from menus, as a trial sees them.

Two ways to build them: hls4ml with strategy ``latency``, a product a DSP or look-up tables; and
alkaid, all positions unrolled into one graph of adders (backend ``alkaid``). Both take whatever
networks they take elsewhere: convolutions, pooling, batch norm, several heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from rfprune.core.arrays import FloatArray
from rfprune.core.quantities import RESOURCES
from rfprune.errors import SpecError
from rfprune.fpga.adders.digits import digit_counts
from rfprune.fpga.estimators import Estimate, estimate, needs_project
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.hls import convert
from rfprune.fpga.layers import Plan, fold_batch_norm
from rfprune.fpga.target import FpgaDeployment
from rfprune.fpga.unrolled.circuit import UnrolledGraph
from rfprune.fpga.unrolled.deployment import UnrolledDeployment, check_unrolled_trial
from rfprune.fpga.values.numbers import folded_weights
from rfprune.fpga.values.prunable import ValuePrunable
from rfprune.pruning import Masks, Session
from rfprune.spec import TrialSpec
from rfprune.trial.target import Bundle, ExportedParts, LayerTable, Measured

__all__ = ["LatencyValues", "UnrolledValues", "check_values"]


class _Values(FpgaDeployment):
    """What both ways have in common."""

    prunable: ValuePrunable  # type: ignore[assignment]

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        """The plan with the types that are chosen now."""
        return self.prunable.plan

    def arrange(self, model: nn.Module) -> None:
        """Nothing: every weight is chosen by itself, wherever it is."""

    def number_table(self, model: nn.Module, rows: Any, trained: bool) -> LayerTable | None:
        """Nothing: the types are chosen."""
        return None

    def number_notes(self, model: nn.Module, rows: Any, trained: bool) -> list[str]:
        """Nothing: the types are chosen."""
        return []

    def final(self, model: nn.Module, masks: Masks) -> nn.Module:
        """Return a copy with the constants that are built as its weights."""
        return self.prunable.final(model)

    def measure_moved(self, session: Session, scratch: Path) -> Measured:
        """Measure it again: values and types stay."""
        return self.measure(session, scratch)

    def export(self, bundle: Bundle) -> ExportedParts:
        """Write what is built, and the values and types that it was built from."""
        parts = super().export(bundle)
        return replace(parts, saved={**parts.saved, "values": self.prunable.values()})


class LatencyValues(_Values):
    """A network that hls4ml builds with strategy latency at reuse factor 1."""

    def __init__(self, spec: TrialSpec, planned: Plan, model: nn.Module) -> None:
        """Check what has a meaning here, and read what can be chosen.

        Raises:
            SpecError: a setting that has none.
        """
        check_values(spec, ("dsp", "lut"))
        self.spec = spec
        self.device = planned.part.name
        self.prunable = ValuePrunable(
            planned, spec.prune, _dense(planned, model), self._figures, quickly=True
        )

    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return the estimate of the dense network in the types of the file."""
        return estimate(_design(self.plan, model)).quantities()

    def _figures(self, model: nn.Module) -> FloatArray:
        """Return (R,) what a network takes in its present numbers, by the analytic estimator."""
        found = estimate(_design(self.plan, self.final(model, {}))).total
        return np.array([getattr(found, name) or 0.0 for name in RESOURCES])

    def measure(self, session: Session, scratch: Path) -> Measured:
        """Estimate the network as it is now, in its values and types."""
        plan, final, by = self.plan, self.final(session.model, {}), self.spec.estimator
        project = convert(final, plan, scratch).write() if needs_project(by) else None
        return _measured(plan, final, estimate(_design(plan, final), by, project))


class UnrolledValues(_Values, UnrolledDeployment):
    """A network that alkaid unrolls into one graph of adders."""

    def __init__(self, spec: TrialSpec, planned: Plan) -> None:
        """Check what has a meaning here, and read what can be chosen.

        Raises:
            SpecError: a setting that has none.
            NetworkError: more products than alkaid can unroll.
        """
        check_values(spec, ("lut",))
        check_unrolled_trial(spec, planned)
        self.spec = spec
        self.device = planned.part.name
        lut = self._digits_and_bits(planned, [None] * len(planned.layers))
        dense = {name: lut if name == "lut" else 0.0 for name in RESOURCES}
        self.prunable = ValuePrunable(planned, spec.prune, dense, self._figures, quickly=False)

    def _digits_and_bits(self, planned: Plan, weights: Sequence[Tensor | None]) -> float:
        """Return LUTs by the model: digits of weights, or all there may be, times bits read."""
        most, step = self.spec.prune.widths.digits, 2.0**-self.spec.prune.widths.fraction_bits
        lut = 0.0
        for layer, weight in zip(planned.layers, weights, strict=True):
            digits = float(layer.layer.n_weights * most)
            if weight is not None:
                near = np.rint(weight.double().numpy() / step) * step
                digits = float(np.minimum(digit_counts(near), most).sum())
            lut += digits * layer.layer.positions * (layer.data.width + 1)
        return lut

    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return LUTs of a graph in which every weight has its nearest value, by the model."""
        lut = self._digits_and_bits(self.plan, folded_weights(model, self.plan))
        return {"dsp": 0.0, "bram18": 0.0, "lut": round(lut), "ff": None, "ii_cycles": 1.0}

    def _figures(self, model: nn.Module) -> FloatArray:
        found = self.figures(self.graph(model))
        return np.array([float(found.get(name) or 0.0) for name in RESOURCES])

    def graph(self, model: nn.Module) -> UnrolledGraph:
        """Return the graph of a network in its values and types; that of the last one is kept."""
        return super().graph(self.final(model, {}))

    def measure(self, session: Session, scratch: Path) -> Measured:
        """Build the graph of the network as it is now, and count it."""
        plan, model = self.plan, session.model
        if session.masks is not None:
            found = self.estimate(model, self.spec.estimator)
            return _measured(plan, self.final(model, {}), found)
        # A graph of every digit is large, and nobody builds it.
        quantities = self.dense_quantities(model)
        dense = _measured(plan, model, None)
        return replace(
            dense, quantities={**dense.quantities, **quantities}, costs={"total": quantities}
        )


def _design(plan: Plan, model: nn.Module) -> Design:
    return design_of(plan, fold_batch_norm(model, plan.network))


def _dense(planned: Plan, model: nn.Module) -> dict[str, float]:
    """Return what a network takes whose weights are all there, whatever they are."""
    design = _design(planned, model)
    layers = tuple(each.model_copy(update={"weights": None}) for each in design.layers)
    found = estimate(design.model_copy(update={"layers": layers})).total
    return {name: float(getattr(found, name) or 0.0) for name in RESOURCES}


def _measured(plan: Plan, final: nn.Module, found: Estimate | None) -> Measured:
    """Return what was measured of a network whose weights are its constants."""
    layers = plan.layers
    live = {each.name: int((each.layer.weight_of(final) != 0).sum()) for each in layers}
    total = {each.name: each.layer.n_weights for each in layers}
    sparsity = 1 - sum(live.values()) / max(sum(total.values()), 1)
    quantities: dict[str, float | None] = {"sparsity": sparsity}
    if found is not None:
        quantities |= {**found.quantities(), "fits": float(found.fits(plan.part))}
    return Measured(
        quantities=quantities,
        live=live,
        groups=total,
        costs={} if found is None else found.to_json(plan.part),
        reuse_factor=dict.fromkeys(live, 1),
        strategy={each.name: each.strategy for each in layers},
    )


def check_values(spec: TrialSpec, resources: tuple[str, ...]) -> None:
    """Refuse what has no meaning where values are chosen, before anything is trained.

    Raises:
        SpecError: names the key, the value and what is allowed.
    """
    strategy = spec.hardware.strategy
    why = {
        "ff": "flip-flops follow from the stages that HLS cuts, not from single weights",
        "bram18": "weights that are constants are in no memory",
        "dsp": "a graph of adders has none",
    }
    for name in spec.prune.budget:
        if name not in resources:
            raise SpecError(
                f"prune.budget.{name}: method {spec.prune.method} takes no such budget with "
                f"strategy {strategy}: {why[name]}. Allowed: {', '.join(resources)}."
            )
    places: list[tuple[str, int | None]] = [("hardware.", spec.hardware.reuse_factor)]
    places += [
        (f"hardware.layers.{name}.", own.reuse_factor) for name, own in spec.hardware.layers.items()
    ]
    for place, factor in places:
        if factor not in (None, 1):
            raise SpecError(
                f"{place}reuse_factor: is {factor}; method {spec.prune.method} makes every weight "
                "a constant of the circuit. Allowed: 1."
            )
    for name, own in spec.hardware.layers.items():
        if own.strategy not in (None, strategy):
            raise SpecError(
                f"hardware.layers.{name}.strategy: is {own.strategy}; method {spec.prune.method} "
                f"has one strategy for all layers. Allowed: {strategy}."
            )
    if spec.prune.layers:
        raise SpecError(
            f"prune.layers: method {spec.prune.method} has no settings by layer yet. Allowed: none."
        )
    if spec.train.function is not None:
        raise SpecError(
            f"train.function: method {spec.prune.method} chooses while it trains, in the training "
            "loop of rfprune. Allowed: no function."
        )
