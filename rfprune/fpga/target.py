"""The FPGA as a target: the network is planned, grouped, converted by hls4ml and estimated."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rfprune.core.named import InputShape
from rfprune.core.registry import importable
from rfprune.core.tables import Column
from rfprune.errors import ConversionError, MissingExtraError, SpecError, UnknownNameError
from rfprune.fpga.bundle import export_project
from rfprune.fpga.estimators import check_estimator, estimate, needs_project
from rfprune.fpga.estimators.network import design_of
from rfprune.fpga.groups import build_groups
from rfprune.fpga.hls import convert
from rfprune.fpga.layers import Plan, fold_batch_norm, plan, trace
from rfprune.fpga.layers.plan import UNROLLED
from rfprune.fpga.neurons import sort_neurons
from rfprune.fpga.number_ranges import number_notes, number_ranges, range_columns
from rfprune.fpga.prunable import GroupPrunable
from rfprune.fpga.rehearsal import check_called, rehearse
from rfprune.hardware.reuse import valid_reuse_factors
from rfprune.methods import Method, find_method
from rfprune.pruning import Masks, Session
from rfprune.spec import TARGETS, TrialSpec
from rfprune.trial.proof import Asked, Proof
from rfprune.trial.target import (
    Bundle,
    Deployment,
    ExportedParts,
    LayerTable,
    Measured,
    Target,
    ToolRow,
)

__all__ = ["FPGA", "FpgaDeployment", "FpgaTarget"]

_PROGRAMS = {
    "g++": "C++ simulation of exported networks",
    "vitis_hls": "estimator csynth",
    "vivado_hls": "estimator csynth",
    "vivado": "logic synthesis",
}
_PACKAGES = {
    "rule4ml": "estimator rule4ml",
    "da4ml": "estimator da4ml",
    "alkaid": "backend alkaid",
}
#: So many reuse factors of a layer are shown.
_SHOWN_FACTORS = 14


@dataclass(frozen=True)
class LayerRow:
    """One layer that holds weights, as ``rfprune check`` shows it."""

    name: str
    type: str
    n_in: int
    n_out: int
    n_weights: int
    valid_reuse_factors: list[int]
    largest_reuse_factor: int | None


class FpgaDeployment(Deployment):
    """A network on its FPGA: every layer with its hardware, and the groups of its weights."""

    prunable: GroupPrunable

    def __init__(self, spec: TrialSpec, planned: Plan, structure: str | None) -> None:
        """Group a planned network; `structure` is what the method is bound to, or None."""
        self.spec, self.plan = spec, planned
        self.device = planned.part.name
        groups = build_groups(planned, spec.prune, structure)
        self.prunable = GroupPrunable(groups, spec.prune.fixed_point)

    def notes(self) -> list[str]:
        """Return one sentence per layer in which pruning cannot save anything."""
        return self.plan.notes()

    def arrange(self, model: nn.Module) -> None:
        """Put strong hidden neurons side by side, into the same groups, if the trial asks."""
        if self.spec.prune.sort_neurons:
            sort_neurons(model, self.plan.network)

    def check_called(self, model: nn.Module, x: Any) -> None:
        """Compare what was lowered with the network as its user calls it."""
        check_called(model, self.plan, x)

    def rehearse(self, model: nn.Module, x: Any) -> list[str]:
        """Convert the untrained network, and compare its C++ with torch."""
        return [rehearse(model, self.plan, x)]

    def number_table(self, model: nn.Module, rows: Any, trained: bool) -> LayerTable | None:
        """Return ranges, overflow and rounding of inputs, weights and outputs."""
        ranges = number_ranges(model, self.plan, rows, trained)
        caption = f"on {len(rows):,} training rows; rounding: its noise relative to the numbers"
        plain = [asdict(each) for each in ranges]
        return LayerTable("types", plain, "Types", caption, range_columns(ranges))

    def number_notes(self, model: nn.Module, rows: Any, trained: bool) -> list[str]:
        """Return which types are too narrow, why, and which would do."""
        return number_notes(number_ranges(model, self.plan, rows, trained), len(rows), trained)

    def dense_quantities(self, model: nn.Module) -> dict[str, float | None]:
        """Return the analytic estimate of the dense network."""
        return estimate(
            design_of(self.plan, fold_batch_norm(model, self.plan.network))
        ).quantities()

    def share(self, quantity: str, value: float) -> float | None:
        """Return what part of the FPGA's resource a value is."""
        available = getattr(self.plan.part, quantity, None)
        return value / available if available else None

    def layer_table(self) -> LayerTable:
        """Return sizes and valid reuse factors of the layers that hold weights."""
        network, io_type = self.plan.network, self.plan.hardware.io_type
        rows = []
        for layer in network.layers:
            n_in, n_out, largest = layer.size(io_type)
            valid = valid_reuse_factors(n_in, n_out, largest=largest)
            kind = layer.kind.name
            rows.append(LayerRow(layer.name, kind, n_in, n_out, layer.n_weights, valid, largest))
        columns = [
            Column("layer", [row.name for row in rows], left=True, needed=True),
            Column("type", [row.type for row in rows], left=True),
            Column("matrix", [f"{row.n_in} x {row.n_out}" for row in rows]),
            Column("weights", [f"{row.n_weights:,}" for row in rows]),
            Column(
                "valid reuse factors",
                [_some(row.valid_reuse_factors) for row in rows],
                left=True,
                needed=True,
            ),
        ]
        caption = "matrix: products per output x outputs"
        return LayerTable("layers", [asdict(row) for row in rows], "Layers", caption, columns)

    def measure(self, session: Session, scratch: Path) -> Measured:
        """Convert the network as it is now, check that pruned groups are gone, and estimate it.

        Raises:
            ConversionError: hls4ml generates other multipliers than the masks leave.
        """
        model, groups = session.model, self.prunable.groups
        live = groups.live(model)
        conversion = convert(model, self.plan, scratch)
        for name, generated in conversion.live_multipliers().items():
            if generated != live[name]:
                raise ConversionError(
                    f"{name}: {live[name]} multipliers are live, but hls4ml generated {generated}."
                )
        project = conversion.write() if needs_project(self.spec.estimator) else None
        return self._measured(model, conversion.network, project, live)

    def measure_moved(self, session: Session, scratch: Path) -> Measured:
        """Estimate a network again whose code is known: part and clock are not in what is built."""
        if needs_project(self.spec.estimator):
            return self.measure(session, scratch)
        model, network = session.model, self.plan.network
        # Where nothing is folded, the weights are those that are built.
        folded = fold_batch_norm(model, network) if network.folded_norms else model
        return self._measured(model, folded, None, self.prunable.groups.live(model))

    def _measured(
        self, model: nn.Module, folded: nn.Module, project: Path | None, live: dict[str, int]
    ) -> Measured:
        by, layers = self.spec.estimator, self.plan.layers
        found = estimate(design_of(self.plan, folded), by, project)
        weights = [layer.layer.weight_of(model) for layer in layers]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        total = sum(layer.layer.n_weights for layer in layers)
        return Measured(
            quantities={
                "sparsity": zeros / max(total, 1),
                **found.quantities(),
                "fits": float(found.fits(self.plan.part)),
            },
            live=live,
            groups={layer.name: layer.n_multipliers for layer in layers},
            costs=found.to_json(self.plan.part),
            reuse_factor={layer.name: layer.reuse_factor for layer in layers},
            strategy={layer.name: layer.strategy for layer in layers},
        )

    def final(self, model: nn.Module, masks: Masks) -> nn.Module:
        """Return the network itself, whose pruned weights are zero."""
        return model

    def export(self, bundle: Bundle) -> ExportedParts:
        """Write the hls4ml project, the C++ simulation's verdict and the build scripts."""
        return export_project(self.plan, self.spec.estimator, bundle)


def _some(factors: list[int]) -> str:
    few = len(factors) <= _SHOWN_FACTORS
    shown = factors if few else [*factors[: _SHOWN_FACTORS - 2], "...", factors[-1]]
    return " ".join(map(str, shown))


class FpgaTarget(Target):
    """An FPGA, through hls4ml."""

    facts = TARGETS["hardware"]

    def check(self, spec: TrialSpec, base_dir: Path) -> None:
        """Refuse an estimator that is in no table and no module, and packages that are missing."""
        _check_estimator(spec.estimator, base_dir, spec.hardware.backend == "alkaid")
        with importable(base_dir):
            _check_adders(spec.prune.method, spec.hardware.strategy, spec.hardware.backend)

    def deploy(
        self,
        spec: TrialSpec,
        method: Method,
        model: nn.Module,
        input_shape: InputShape,
        base_dir: Path,
    ) -> Deployment:
        """Trace the network, and plan the hardware of every layer."""
        network = trace(model, input_shape)
        _check_strategy(spec, method)
        if method.chooses_values:
            # Those that are planned are deployments of this target themselves.
            from rfprune.fpga.values.deploying import deploy_values

            return deploy_values(spec, network, model)
        if spec.hardware.backend == "alkaid":
            # It is a deployment of this target itself.
            from rfprune.fpga.unrolled.deployment import UnrolledDeployment, check_unrolled

            check_unrolled(spec.hardware)
            return UnrolledDeployment(spec, plan(network, spec.hardware), method.structure)
        planned = plan(network, spec.hardware)
        return FpgaDeployment(spec, planned, method.structure)

    def layer_sizes(
        self, spec: TrialSpec, model: nn.Module, input_shape: InputShape, searched: set[str]
    ) -> dict[str, tuple[int, int, int | None]]:
        """Return inputs, outputs and largest reuse factor of every layer that holds weights."""
        # Where both are searched, every point has to be valid in io_parallel as well.
        both = "hardware.io_type" in searched
        io_type = "io_parallel" if both else spec.hardware.io_type
        return dict(trace(model, input_shape).sizes(io_type))

    def decides_types(self, path: str) -> bool:
        """Return whether a searched path says in which type something is computed."""
        return path.startswith("hardware.") and path.endswith("precision")

    def check_searched(self, spec: TrialSpec, searched: Mapping[str, Sequence[Any]]) -> None:
        """Refuse estimators that are in no table, and packages that are missing at every point."""
        hardware = spec.hardware
        backends = searched.get("hardware.backend", ()) or (hardware.backend,)
        strategies = searched.get("hardware.strategy", ()) or (hardware.strategy,)
        # Which of them go together is known to trials alone; the first and the last are prepared.
        backend = "alkaid" if "alkaid" in backends else str(backends[0])
        strategy = next((str(each) for each in strategies if each != UNROLLED), UNROLLED)
        for value in searched.get("estimator", ()):
            _check_estimator(str(value), None, backend == "alkaid")
        for method in searched.get("prune.method", ()):
            _check_adders(str(method), strategy, backend)

    def certify(self, folder: Path, model: nn.Module, asked: Asked) -> Proof:
        """Build and simulate again what the folder holds, and count it."""
        # It looks for this target itself.
        from rfprune.fpga.proof.folder import prove_folder

        return prove_folder(folder, model, asked)

    def tools(self) -> list[ToolRow]:
        """Return g++, the vendor's tools and the estimators of other packages."""
        programs = [ToolRow(name, shutil.which(name), why) for name, why in _PROGRAMS.items()]
        packages = [
            ToolRow(name, "installed" if importlib.util.find_spec(name) else None, why)
            for name, why in _PACKAGES.items()
        ]
        return programs + packages


#: Strategies in which every weight is a constant of the circuit.
_CONSTANT = ("latency", UNROLLED)


def _check_strategy(spec: TrialSpec, method: Method) -> None:
    """Refuse strategy and method that do not go together."""
    strategy = spec.hardware.strategy
    by_adders = [strategy, *(each.strategy for each in spec.hardware.layers.values())]
    if method.chooses_values and strategy not in _CONSTANT:
        raise SpecError(
            f"hardware.strategy: is {strategy}, and prune.method: {spec.prune.method} chooses "
            f"values of weights that are constants of a circuit. Allowed: {', '.join(_CONSTANT)}."
        )
    alkaid = spec.hardware.backend == "alkaid"
    if alkaid and strategy != UNROLLED:
        raise SpecError(
            f"hardware.backend: alkaid builds strategy distributed_arithmetic alone; strategy is "
            f"{strategy}. Allowed: that strategy, or backend: Vitis."
        )
    if not method.chooses_values and not alkaid and UNROLLED in by_adders:
        raise SpecError(
            f"hardware.strategy: distributed_arithmetic has no multipliers, which prune.method: "
            f"{spec.prune.method} takes away. Allowed: backend: alkaid, prune.method: widths, or "
            "another strategy."
        )


def _check_adders(method: str, strategy: str, backend: str) -> None:
    """Raise where a method's values become da4ml's graphs of adders, and da4ml is missing."""
    if strategy != UNROLLED or backend == "alkaid":
        return
    if find_method(method).chooses_values and importlib.util.find_spec("da4ml") is None:
        raise MissingExtraError(
            f"prune.method: {method} with strategy {strategy} needs the package da4ml: pip install "
            "'rfprune[da4ml]', or set hardware.backend: alkaid or hardware.strategy: latency."
        )


def _check_estimator(name: str, base_dir: Path | None, of_adders: bool) -> None:
    try:
        with importable(base_dir):
            check_estimator(name, of_adders)
    except UnknownNameError as error:
        raise UnknownNameError(f"estimator: {error}") from None


FPGA = FpgaTarget()
